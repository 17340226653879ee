"""Commands with an address as --out: killed on one machine, gone on with on another."""

from __future__ import annotations

import json
import shutil
import signal
from html import unescape
from pathlib import Path

import pytest

import robbench
from robbench.core.errors import UserError
from robbench.store.address.copies import bring, copy_of, mirror_of, shown, working_copy
from robbench.store.address.place import Place
from robbench.store.run import read_run

# Dies once the address has a file whose name begins so and ends so.
KILLER = """
import os, signal, sys
from robbench.store.address import mirror, place
from robbench.tasks.attack import shard_writer
from robbench.cli.app import main
begins, ends, *words = sys.argv[1:]
mirror.PAUSE = 0.01
shard_writer.FLUSH_SECONDS = 0.0
put = place.Place.put
def deadly(self, file, name):
    put(self, file, name)
    if name.startswith(begins) and name.endswith(ends):
        os.kill(os.getpid(), signal.SIGKILL)
place.Place.put = deadly
sys.argv = ["robbench", *words]
main()
"""
ATTACK = "attack at -a pgd:steps=10 --limit 40 --batch-size 4 --store-points --threat linf:0.1"
TRAIN = "train --data digits --limit 200 --epochs 3 --loss cross-entropy --name m"


def on(machine: str, tmp_path: Path) -> dict[str, str]:
    return {"ROBBENCH_COPIES": str(tmp_path / machine)}


def test_an_attack_is_killed_and_resumed_elsewhere(s3, spawn, cli, store, tmp_path):
    """What the first machine had decided is not done again; rows are those of a local run, and so
    is the table.
    """
    out = f"{s3['BUCKET']}/runs"
    shutil.copytree(store, tmp_path / "local")
    for path in sorted((store / "models" / "at").iterdir()):
        if path.is_file():
            Place(out).put(path, f"models/at/{path.name}")
    killed = spawn(
        *("results/partial", ".parquet", *ATTACK.split(), "--out", out),
        code=KILLER,
        env=s3 | on("A", tmp_path),
    )
    assert killed.code == -signal.SIGKILL, killed.err
    there = Place(out).versions()
    assert not any(name.startswith("results/runs/") for name in there)
    assert sum(name.startswith("results/partial/") for name in there) > 1
    again = cli(ATTACK, "--out", out, env=s3 | on("B", tmp_path))
    assert again.code == 0, again.err
    assert "going on with at linf:0.1: " in again.err
    assert f"per-sample results: {out}/results/samples" in again.err
    local = cli(ATTACK, "--out", tmp_path / "local")
    assert again.out == local.out
    (run,) = (tmp_path / "local/results/runs").glob("*")
    (copy,) = (tmp_path / "B").glob("*/results/runs/*")
    assert read_run(copy).samples.equals(read_run(run).samples)
    there = Place(out).versions()
    assert not any(name.startswith(("results/partial/", "results/locks/")) for name in there)
    tables = ("runs", "samples", "points", "checks")
    assert {f"results/{kind}/{run.name}" for kind in tables} <= set(there)
    # A third machine, and the first one, whose working copy still has the shards.
    for machine in ("C", "A"):
        shown_there = cli("compare at --out", out, env=s3 | on(machine, tmp_path))
        shown_here = cli("compare at --out", tmp_path / "local")
        assert shown_there.out == shown_here.out.replace(str(tmp_path / "local"), out)
        done = cli(ATTACK, "--out", out, env=s3 | on(machine, tmp_path))
        assert "nothing to do" in done.err
    assert Place(out).versions() == there


def test_a_training_is_killed_and_resumed_elsewhere(s3, spawn, cli, tmp_path):
    """From the state of its last epoch, to the weights of an uninterrupted one."""
    out = f"{s3['BUCKET']}/runs"
    killed = spawn(
        *("models/m/", "state.pt", *TRAIN.split(), "--out", out),
        code=KILLER,
        env=s3 | on("A", tmp_path),
    )
    assert killed.code == -signal.SIGKILL, killed.err
    # The state is there before the settings that speak of it only in the first moments.
    again = cli(TRAIN, "--out", out, env=s3 | on("B", tmp_path))
    assert again.code == 0, again.err
    assert cli(TRAIN, "--out", tmp_path / "local").code == 0
    weights = (tmp_path / "local/models/m/model.safetensors").read_bytes()
    assert Place(out).read("models/m/model.safetensors") == weights
    assert f"{out}/models/m" in again.out
    names = {name for name in Place(out).versions() if name.startswith("models/")}
    assert {Path(name).name for name in names} == {
        path.name for path in (tmp_path / "local/models/m").iterdir()
    }
    found = cli(TRAIN, "--out", out, env=s3 | on("C", tmp_path))
    assert "is there already" in found.err


QUICK = (
    "runs --json",
    "show at --json",
    "compare --json",
    "baseline set at",
    "gate --model at --undecided pass",
)
REST = (
    "check at --limit 8 --json",
    "measure at --force",
    "report at --html R.html",
    "attack at -a pgd:steps=3 --replay at --limit 40",
    "plot margins -o F.svg at",
)


@pytest.mark.parametrize("lines", [QUICK, pytest.param(REST, marks=pytest.mark.slow)])
def test_every_command_takes_an_address(lines, cli, store, tmp_path):
    """What each says of a folder it says of the address, on a machine that has nothing of it."""
    there = tmp_path / "there"
    shutil.copytree(store, there)
    out = f"file://{there}"
    attack = "attack at ce -a pgd:steps=5 --limit 40 --store-points --measure --out"
    assert cli(attack, out, env=on("A", tmp_path)).code == 0
    (tmp_path / "cwd").mkdir()
    for n, line in enumerate(lines):
        done = cli(line, "--out", out, env=on(f"M{n}", tmp_path), cwd=tmp_path / "cwd")
        assert (done.code, line) == (0, line), done.err
        assert f"M{n}/" not in done.out + done.err, line
        if line in QUICK[:3]:
            local = cli(line, "--out", there, cwd=tmp_path / "cwd")
            assert done.out.replace(out, "") == local.out.replace(out, "").replace(str(there), "")


def test_a_sweep_goes_on_elsewhere(cli, tmp_path):
    """What another machine has done is done, also for a worker; a part more is only that part."""
    out = f"file://{tmp_path / 'there'}"
    sweep = (
        "sweep --name s --grid seed=0..1 --data digits --epochs 1 --limit 40 --attack fgsm "
        "--set model=mlp:width=4,depth=1 --json --out"
    )
    first = cli(sweep, out, env=on("A", tmp_path))
    assert first.code == 0, first.err
    assert f"tasks: {out}/results/sweeps/s.parquet" in first.err
    assert first.json["tasks"]["computed"] == 4
    again = cli(sweep.replace("0..1", "0..2"), out, env=on("B", tmp_path))
    assert again.code == 0, again.err
    assert again.json["tasks"] == {"total": 6, "computed": 2, "done": 6}
    assert cli("runs --json --out", out, env=on("C", tmp_path)).out == (
        cli("runs --json --out", tmp_path / "there").out
    )


def test_from_python(store, tmp_path, monkeypatch):
    """`out` may be an address in every function; errors speak of it."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "A"))
    out = "memory://python"
    robbench.train(data="digits", limit=100, epochs=1, name="m", out=out)
    (found,) = robbench.attack("m", "fgsm", "linf:0.1", limit=20, out=out)
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "B"))
    (row,) = robbench.compare(out=out).to_dict("records")
    assert row["run_id"] == found.info["run_id"]
    assert len(robbench.load_runs("m", out=out, table="samples")) == 20
    with pytest.raises(UserError, match="unknown model 'ce': not in memory://python/models"):
        robbench.attack("ce", out=out)
    shutil.rmtree(tmp_path / "A")


def test_no_password_of_an_address_is_told(cli, trained, tmp_path):
    """By a screen, a page, or the name of a working copy; pages and hints name the address."""
    env, address = on("A", tmp_path), "memory://me:s3cret@host/runs"
    (tmp_path / "cwd").mkdir()
    said = []
    for line, code in (
        ("train --data digits --limit 100 --epochs 1 --name m", 0),
        ("attack m -a fgsm --limit 20 --threat linf:0.1", 0),
        ("show m --json", 0),
        ("compare m", 0),
        (f"report {address}* --html R.html", 2),
        ("report m --html R.html", 0),
        ("attack absent -a fgsm", 2),
        ("attack m -a fgsm --limit 20 --jobs 2", 2),
        (f"compare {address}/zz*", 2),
    ):
        done = cli(line, "--out", address, env=env, cwd=tmp_path / "cwd")
        assert (line, done.code) == (line, code), done.err
        said.append(done.out + done.err)
    page = unescape((tmp_path / "cwd" / "R.html").read_text())
    assert "robbench report m --out 'memory://***@host/runs' --html R.html" in page
    said.append(page)
    assert str(tmp_path / "A" / "memory") not in "".join(said)
    said += [str(path) for path in (tmp_path / "A").rglob("*")]
    assert len(said) > 20
    assert not [text for text in said if "s3cret" in text]
    assert Place(address).read("models/m/config.json")


def test_a_working_copy_ends_with_its_block(tmp_path, monkeypatch):
    """Two of one address are one; what is written goes there also when the block fails."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path))
    out = "memory://block"
    assert copy_of(out) == copy_of(f"{out}/") != copy_of("memory://block2")

    def work() -> None:
        with working_copy(out, print) as a:
            with working_copy(out, print) as b:
                assert a == b == copy_of(out)
                (a / "results/samples").mkdir(parents=True)
                (a / "results/samples/x.parquet").write_bytes(b"x")
            assert Place(out).read("results/samples/x.parquet") == b"x"
            (a / "results/samples/y.parquet").write_bytes(b"y")
            assert shown(a / "results") == f"{out}/results"
            raise UserError(f"{a}/x is bad")

    with pytest.raises(UserError, match=r"^memory://block/x is bad$"):
        work()
    a = copy_of(out)
    assert Place(out).read("results/samples/y.parquet") == b"y"
    assert mirror_of(a) is None
    bring(a / "results")
    assert shown(a) == str(a)
    with working_copy("runs", print) as c:
        assert c == Path("runs")


def test_errors_are_one_line(s3, cli, trained, tmp_path):
    """No bucket, no credentials, no server: nothing is begun, exit 2 or 3."""
    model = f"{trained}/models/ce"
    attack = f"attack {model} -a fgsm --limit 20 --out"
    env = s3 | on("A", tmp_path)
    none = cli(attack, f"{s3['BUCKET']}-none/runs", env=env)
    assert (none.code, none.out) == (2, "")
    assert "make the bucket first" in none.err.splitlines()[-1]
    unknown = cli(attack, "nowhere://x", env=env)
    assert unknown.code == 2
    assert "nowhere" in unknown.err
    assert len(unknown.err.splitlines()) == 1
    (tmp_path / "file").touch()
    env["ROBBENCH_COPIES"] = str(tmp_path / "file")
    nowhere = cli(attack, "memory://copies", env=env)
    assert nowhere.code in (2, 3)
    assert nowhere.err.startswith(f"error: cannot write {tmp_path}/file/memory-copies-")
    assert len(nowhere.err.splitlines()) == 1
    many = cli(attack, f"{s3['BUCKET']}/runs", env=env | {"WORLD_SIZE": "2", "RANK": "0"})
    assert many.code == 2
    assert "several processes" in many.err


def test_the_network_goes_in_the_middle(s3, cli, trained, tmp_path, monkeypatch):
    """The work ends, is kept here, exit 3; the next command puts it there."""
    model, out = f"{trained}/models/ce", f"{s3['BUCKET']}/runs"
    put = Place.put

    def fail(self: Place, file: Path, name: str) -> None:
        raise robbench.RunError(f"cannot write to {self.address}: no route; check the network")

    monkeypatch.setattr(Place, "put", fail)
    lost = cli(f"attack {model} -a fgsm --limit 20 --out", out, env=s3 | on("A", tmp_path))
    assert lost.code == 3
    assert lost.err.splitlines()[-1].startswith(f"error: cannot write to {out}: no route; check")
    assert "is kept in" in lost.err.splitlines()[-1]
    assert not any(name.startswith("results/") for name in Place(out).versions())
    monkeypatch.setattr(Place, "put", put)
    found = cli("runs --json --out", out, env=s3 | on("A", tmp_path))
    assert len(json.loads(found.out)["runs"]) == 1
    assert sum(name.startswith("results/runs/") for name in Place(out).versions()) == 1
    assert cli("runs --json --out", out, env=s3 | on("B", tmp_path)).out == found.out
