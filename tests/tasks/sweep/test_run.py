"""A real small sweep: equal to plain commands, each part once, whatever happens in between."""

import json
import shutil
import signal

import pyarrow.parquet as pq
import pytest

from robbench.store.tasks import read_tasks

GRID = (
    "sweep --name s --grid loss=cross-entropy,label-smoothing --grid seed=0..1 "
    "--grid threat=linf:0.05,linf:0.1 --data digits --epochs 1 --limit 60 --attack pgd:steps=3 "
    "--set model=mlp:width=16,depth=1"
)


@pytest.fixture(scope="module")
def swept(cli, tmp_path_factory):
    """The output folder of `GRID`."""
    out = tmp_path_factory.mktemp("sweep") / "S"
    done = cli(GRID, "--json", "--out", out)
    assert done.code == 0, done.err
    return out, {**done.json, "rows": table(done)}


def table(done):
    """The rows of the comparison, but for the time that they took."""
    return [{**row, "wall_s": None} for row in done.json["rows"]]


def computed(out):
    """How often each task was computed anew, by the record of outcomes."""
    files = (out / "results" / "sweeps" / "s").glob("outcomes*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    records = [json.loads(line) for line in lines if line]
    return [r["task"] for r in records if r["status"] == "done" and r["value"]["fresh"]]


def test_results_are_those_of_the_plain_commands(cli, swept, tmp_path, rows_of):
    out, said = swept
    for loss, seed in (("cross-entropy", 0), ("label-smoothing", 1)):
        name = f"{loss}-s{seed}"
        done = cli(
            f"train --data digits --loss {loss} --seed {seed} --epochs 1 --limit 60 "
            f"--model mlp:width=16,depth=1 --name {name} --out",
            tmp_path,
        )
        assert done.code == 0, done.err
        done = cli(
            f"attack {name} --attack pgd:steps=3 --threat linf:0.1 --limit 60 --json --out",
            tmp_path,
        )
        (row,) = done.json["rows"]
        assert row["run_id"] in said["run_ids"]
        same = (f"results/samples/{row['run_id']}.parquet", f"models/{name}/model.safetensors")
        assert rows_of(out / same[0]) == rows_of(tmp_path / same[0])
        assert (out / same[1]).read_bytes() == (tmp_path / same[1]).read_bytes()


def test_the_table_has_a_row_per_task(swept):
    out, said = swept
    rows = read_tasks(out / "results" / "sweeps" / "s.parquet")
    assert [row["kind"] for row in rows] == ["train", "attack", "attack"] * 4
    assert {row["status"] for row in rows} == {"done"}
    assert said["tasks"] == {"total": 12, "computed": 12, "done": 12}
    assert [run for row in rows for run in json.loads(row["run_ids"])] == said["run_ids"]
    assert len(set(said["run_ids"])) == 8
    first = rows[1]
    assert (first["model"], json.loads(first["settings"])["threat"]) == (
        "cross-entropy-s0",
        ["linf:0.05"],
    )
    assert first["tries"] == 1
    assert first["started_at"] is not None
    assert first["error"] is None


def test_seeds_are_one_row_of_the_comparison(swept):
    _, said = swept
    found = sorted((row["threat"], row["loss"], row["n_seeds"]) for row in said["rows"])
    threats, losses = ("linf:0.05", "linf:0.1"), ("cross-entropy", "label-smoothing:smoothing=0.1")
    assert found == [(threat, loss, 2) for threat in threats for loss in losses]


def test_runs_are_found_by_their_tags(cli, swept):
    where = "--where tag=sweep=s --where tag=loss=cross-entropy --where threat=linf:0.1"
    done = cli(f"compare {where} --json --out", swept[0])
    assert {row["model"] for row in done.json["rows"]} == {"cross-entropy-s0", "cross-entropy-s1"}


def test_the_same_command_again_computes_nothing(cli, swept, tmp_path, snapshot):
    out = shutil.copytree(swept[0], tmp_path / "S")
    before = snapshot(out)
    done = cli(GRID, "--json", "--out", out)
    assert table(done) == swept[1]["rows"]
    assert done.json["tasks"]["computed"] == 0
    assert "nothing to do" in done.err
    assert snapshot(out) == before


def test_a_larger_grid_does_what_is_new(cli, swept, tmp_path):
    out = shutil.copytree(swept[0], tmp_path / "S")
    done = cli(GRID.replace("seed=0..1", "seed=0..2"), "--json", "--out", out)
    assert done.json["tasks"] == {"total": 18, "computed": 6, "done": 18}
    assert len(computed(out)) == 18


def test_what_was_lost_is_made_again(cli, swept, tmp_path):
    out = shutil.copytree(swept[0], tmp_path / "S")
    run = swept[1]["run_ids"][3]
    (out / "results" / "runs" / f"{run}.parquet").unlink()
    done = cli(GRID, "--json", "--out", out)
    assert done.json["tasks"]["computed"] == 1
    assert done.json["run_ids"] == swept[1]["run_ids"]


def test_a_lost_record_costs_no_work(cli, swept, tmp_path):
    """A task that finds its work done says so; the record is only a shortcut."""
    out = shutil.copytree(swept[0], tmp_path / "S")
    shutil.rmtree(out / "results" / "sweeps")
    done = cli(GRID, "--json", "--out", out)
    assert table(done) == swept[1]["rows"]
    assert computed(out) == []


def test_a_failed_task_is_a_row_and_the_rest_goes_on(cli, swept, tmp_path):
    out = shutil.copytree(swept[0], tmp_path / "S")
    weights = out / "models" / "cross-entropy-s0" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:100])
    shutil.rmtree(out / "results" / "runs")
    (out / "results" / "runs").mkdir()
    done = cli(GRID, "--json", "--out", out)
    assert done.code == 3
    assert done.json["tasks"] == {"total": 12, "computed": 8, "done": 10, "failed": 2}
    assert "2 of 12 tasks failed; the first, attack cross-entropy-s0 linf:0.05: " in done.err
    rows = {row["title"]: row for row in read_tasks(out / "results" / "sweeps" / "s.parquet")}
    assert "model.safetensors" in rows["attack cross-entropy-s0 linf:0.05"]["error"]
    weights.write_bytes(good)
    done = cli(GRID, "--json", "--out", out)
    assert done.code == 0
    assert done.json["tasks"] == {"total": 12, "computed": 2, "done": 12}
    assert table(done) == swept[1]["rows"]


KILLER = """
import os, signal, sys
from robbench.tasks.sweep.state import SweepState
number, calls, original = int(sys.argv.pop(1)), [], SweepState.add
def deadly(self, *words):
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *words)
SweepState.add = deadly
sys.argv = ["robbench", *sys.argv[1:]]
from robbench.cli.app import main
main()
"""


def test_a_killed_driver_goes_on(cli, spawn, swept, tmp_path):
    """Killed before an outcome is recorded: its work is found, nothing is computed twice."""
    killed = spawn("5", *GRID.split(), "--json", "--out", tmp_path, code=KILLER)
    assert killed.code == -signal.SIGKILL
    rows = read_tasks(tmp_path / "results" / "sweeps" / "s.parquet")
    assert len(rows) == 12
    done = cli(GRID, "--json", "--out", tmp_path)
    assert done.code == 0, done.err
    assert table(done) == swept[1]["rows"]
    assert done.json["tasks"]["computed"] == 8
    assert len(computed(tmp_path)) == 11  # and the one whose record was lost


def test_parts_make_the_same_sweep(cli, swept, tmp_path):
    """Each does its own models; the last one compares, and nothing is computed twice."""
    first = cli(GRID, "--shard", "1/2", "--json", "--out", tmp_path)
    assert first.code == 0, first.err
    assert first.json["tasks"] == {"total": 6, "computed": 6, "done": 6}
    assert first.json["rows"] == []
    assert "part 1/2 is over" in first.err
    rows = read_tasks(tmp_path / "results" / "sweeps" / "s.parquet")
    assert [row["status"] for row in rows] == (["done"] * 3 + ["waiting"] * 3) * 2
    env = {"SLURM_ARRAY_TASK_" + name: "2" for name in ("ID", "MAX", "COUNT")}
    last = cli(
        f"{GRID} --shard slurm --json --out {tmp_path}", env=env | {"SLURM_ARRAY_TASK_MIN": "1"}
    )
    assert last.code == 0, last.err
    assert table(last) == swept[1]["rows"]
    whole = cli(GRID, "--json", "--out", tmp_path)
    assert whole.json["tasks"] == {"total": 12, "computed": 0, "done": 12}
    assert whole.json["run_ids"] == swept[1]["run_ids"]
    assert len(computed(tmp_path)) == 12
    assert cli(GRID, "--shard", "3/9", "--out", tmp_path).code == 2


def test_a_model_that_is_gone_is_trained_again_and_its_runs_stay(cli, swept, tmp_path):
    out, said = swept
    mine = tmp_path / "S"
    shutil.copytree(out, mine)
    (mine / "models" / "cross-entropy-s0" / "model.safetensors").unlink()
    done = cli(GRID, "--json", "--out", mine)
    assert done.code == 0, done.err
    assert done.json["tasks"] == {"total": 12, "computed": 1, "done": 12}
    assert table(done) == said["rows"]
    assert [task.partition("-")[0] for task in computed(mine)[12:]] == ["train"]


def test_a_damaged_table_of_tasks_is_written_anew(cli, swept, tmp_path):
    out, said = swept
    mine = tmp_path / "S"
    shutil.copytree(out, mine)
    file = mine / "results" / "sweeps" / "s.parquet"
    file.write_bytes(file.read_bytes()[:50])
    done = cli(GRID, "--json", "--out", mine)
    assert done.code == 0, done.err
    assert table(done) == said["rows"]
    assert len(read_tasks(file)) == 12


CERTIFIED = """
[sweep]
name = "certified"
steps = ["train", "attack", "certify", "compare"]
[grid]
loss = ["cross-entropy"]
[train]
model = "mlp:width=8,depth=1"
epochs = 1
limit = 60
[attack]
attack = ["fgsm"]
threat = ["linf:0.02"]
limit = 9
[certify]
method = "ibp"
"""


def test_certificates_of_a_sweep(cli, tmp_path):
    """Of the samples that are attacked, under their threat model; done once, shown by compare."""
    (tmp_path / "c.toml").write_text(CERTIFIED)
    done = cli("sweep c.toml --json --out S", cwd=tmp_path)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "S/results/certificates").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    assert {(row["threat"], row["method"]) for row in rows} == {("linf:0.02", "ibp")}
    assert len(rows) == 9
    (row,) = cli("compare --json --out S", cwd=tmp_path).json["rows"]
    assert row["certified_accuracy"] is not None
    assert "all 3 tasks are done already" in cli("sweep c.toml --out S", cwd=tmp_path).err
    for method, said in (
        ('"ibp"\nthreat = "l1:2"', "ibp certifies in"),
        ('"ibx"', "unknown certifier 'ibx'"),
    ):
        wrong = CERTIFIED.replace('"ibp"', method).replace('"certified"', '"wrong"')
        (tmp_path / "w.toml").write_text(wrong)
        refused = cli("sweep w.toml --out T", cwd=tmp_path)
        assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
        assert said in refused.err
        assert not (tmp_path / "T").exists()


def test_the_table_is_that_of_the_last_call_also_when_all_is_done(cli, tmp_path):
    """A sweep narrowed to one loss, to another one, and to the first again."""
    words = ["sweep --name s --grid seed=0..0 --attack fgsm --set epochs=1 --limit 20 --quiet"]
    for loss in ("cross-entropy", "mart", "cross-entropy"):
        assert cli(*words, "--grid", f"loss={loss}", "--out", tmp_path).code == 0
        (model,) = {row["model"] for row in read_tasks(tmp_path / "results/sweeps/s.parquet")}
        assert model.startswith(loss)
