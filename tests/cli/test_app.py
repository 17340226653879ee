"""The command as a program: four commands in a row, what they print where, how it starts."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

PROMISED = {
    "model",
    "data",
    "threat",
    "attack",
    "n_samples",
    "clean_accuracy",
    "robust_accuracy",
    "robust_accuracy_low",
    "robust_accuracy_high",
    "adversarial_ratio",
    "clean_margin_mean",
    "adv_margin_mean",
    "adv_margin_p50",
    "n_forward",
    "n_backward",
}
ESCAPE = "\x1b"


def test_the_four_commands(cli, trained, attacked, rows_of_samples):
    """After four commands `compare --json` has its keys, and numbers that follow from the rows."""
    for name in ("ce", "at"):
        files = {path.name for path in (trained / "models" / name).iterdir()}
        assert files >= {"model.safetensors", "config.json", "epochs.parquet"}
        assert "state.pt" not in files
    done = cli("compare", "ce", "at", "--out", attacked, "--json")
    assert (done.code, done.err) == (0, "")
    answer = done.json
    assert isinstance(answer["schema"], str)
    assert set(answer) == {"schema", "rows"}
    assert [row["model"] for row in answer["rows"]] == ["ce", "at"]
    for row in answer["rows"]:
        assert row.keys() >= PROMISED
        samples = rows_of_samples(attacked, row["run_id"])
        assert row["n_samples"] == len(samples) == 100
        assert row["clean_accuracy"] == pytest.approx(
            sum(s["clean_correct"] for s in samples) / 100
        )
        assert row["robust_accuracy"] == pytest.approx(sum(s["robust"] for s in samples) / 100)
        assert row["adversarial_ratio"] == pytest.approx(1 - row["robust_accuracy"])
        assert row["n_forward"] == sum(s["n_forward"] for s in samples)
        assert row["n_backward"] == sum(s["n_backward"] for s in samples)
        assert row["clean_margin_mean"] == pytest.approx(
            sum(s["clean_margin"] for s in samples) / 100, abs=1e-6
        )
        assert row["adv_margin_mean"] == pytest.approx(
            sum(s["adv_margin"] for s in samples) / 100, abs=1e-6
        )
        assert row["robust_accuracy_low"] <= row["robust_accuracy"] <= row["robust_accuracy_high"]
        assert all(s["robust"] != s["adversarial"] for s in samples)
        assert all(s["adv_margin"] <= s["clean_margin"] for s in samples)
        assert all(s["dist_linf"] <= 0.15 * (1 + 1e-5) + 1e-7 for s in samples)
        assert (row["data"], row["threat"], row["attack"]) == (
            "digits",
            "linf:0.15",
            "pgd:steps=10 + apgd",
        )
    ce, at = answer["rows"]
    mine, theirs = (rows_of_samples(attacked, row["run_id"]) for row in (ce, at))
    assert at["won"] == sum(
        b["robust"] and not a["robust"] for a, b in zip(mine, theirs, strict=True)
    )
    assert at["lost"] == sum(
        a["robust"] and not b["robust"] for a, b in zip(mine, theirs, strict=True)
    )


@pytest.fixture
def rows_of_samples():
    """The sample rows of a run."""
    import pyarrow.parquet as pq

    return lambda out, run: pq.read_table(
        out / "results" / "samples" / f"{run}.parquet"
    ).to_pylist()


def test_train_json(cli, tmp_path):
    """`train --json` prints one JSON object: name, folder, selected epoch; nothing else."""
    words = shlex.split("train --model mlp --limit 100 --epochs 1 --name j --json --out")
    done = cli(*words, tmp_path / "S")
    assert done.code == 0, done.err
    answer = done.json
    assert answer["name"] == "j"
    assert answer["selected"]["epoch"] == 1
    assert answer["schema"].startswith("robbench.train")
    again = cli(*words, tmp_path / "S")
    assert again.code == 0, again.err
    assert again.json["selected"] == answer["selected"]


def test_stdout_has_the_result_only(cli, tmp_path):
    """Progress and messages go to stderr, also when verbose, and --quiet silences them."""
    words = shlex.split("train --model mlp --limit 100 --epochs 2 --name m --out")
    loud = cli(*words, tmp_path / "a", "--verbose")
    assert loud.code == 0, loud.err
    result = ["model", "best", "last"]
    assert [line.split()[0] for line in loud.out.splitlines()] == result
    assert "epoch 2" in loud.err
    quiet = cli(*words, tmp_path / "b", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert [line.split()[0] for line in quiet.out.splitlines()] == result
    attack = shlex.split("attack m --attack fgsm --limit 20 --json --out")
    loud, quiet = cli(*attack, tmp_path / "a", "--verbose"), cli(*attack, tmp_path / "b", "--quiet")
    assert quiet.err == ""
    assert loud.json["rows"][0]["model"] == quiet.json["rows"][0]["model"] == "m"
    assert loud.json["rows"][0]["run_id"] in loud.err


def test_plain_output_fits_80_columns(cli, attacked, tmp_path):
    """Off a terminal, or with NO_COLOR: no escape codes, at most 80 columns, plain messages."""
    commands = [
        ["compare"],
        [
            "attack",
            "ce",
            "--attack",
            "pgd:steps=10",
            "--attack",
            "apgd",
            "--threat",
            "linf:0.15",
            "--limit",
            "100",
        ],
    ]
    for words in commands:
        for env in ({}, {"NO_COLOR": "1"}):
            done = cli(*words, "--out", attacked, env=env)
            assert done.code == 0, done.err
            assert ESCAPE not in done.out + done.err
            assert max(map(len, done.out.splitlines())) <= 80
    done = cli("list")
    assert ESCAPE not in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "command", ["train --epochs 2 --name new", "attack ce at --attack fgsm --limit 7"]
)
def test_dry_run_writes_nothing(cli, store, snapshot, command):
    """--dry-run prints one JSON object of what would be done and touches no file."""
    before = snapshot(store)
    done = cli(*command.split(), "--dry-run", "--out", store)
    assert done.code == 0, done.err
    assert isinstance(done.json["schema"], str)
    assert snapshot(store) == before


def test_dry_run_makes_no_folder(cli, tmp_path):
    """A dry run into a new folder leaves no folder."""
    assert cli("train", "--dry-run", "--out", tmp_path / "S").code == 0
    assert list(tmp_path.iterdir()) == []


def test_dry_run_tells_what_is_done(cli, attacked):
    """An attack's dry run names the run ids of the real one, and which exist."""
    words = shlex.split(
        "attack ce --attack pgd:steps=10 --attack apgd --threat linf:0.15 --dry-run --out"
    )
    (done,) = cli(*words, attacked, "--limit", 100).json["runs"]
    (new,) = cli(*words, attacked, "--limit", 99).json["runs"]
    assert (done["done"], new["done"]) == (True, False)
    assert (attacked / "results" / "runs" / f"{done['run_id']}.parquet").exists()
    assert (done["samples"], new["samples"]) == (100, 99)


# -- starting fast

WATCH = """
import sys
sys.argv = ["robbench", *sys.argv[1:]]
from robbench.cli.app import main
try:
    main()
except SystemExit as end:
    code = end.code
large = {"torch", "torchvision", "pandas", "scipy", "sklearn"}
heavy = sorted({name.partition(".")[0] for name in sys.modules} & large)
print("HEAVY", heavy, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["attack", "--help"],
        ["gate", "--help"],
        ["list"],
        ["compare"],
    ],
    ids=" ".join,
)
def test_starts_without_torch(spawn, attacked, words):
    """Help, `list` and `compare` never import torch, torchvision, pandas, scipy, scikit-learn."""
    done = spawn(*words, *(["--out", attacked] if words == ["compare"] else []), code=WATCH)
    assert done.code == 0, done.err
    assert done.err.splitlines()[-1] == "HEAVY []"


def test_help_loads_no_library_of_tables_or_types(spawn):
    """Help and completion, which build all commands, need no library slower than they are."""
    done = spawn(
        code=(
            "import sys, robbench.cli.app; print({'pydantic', 'numpy', 'pyarrow', 'rich', "
            "'torch'} & {*sys.modules})"
        )
    )
    assert done.out.strip() == "set()", done.err


def test_the_module_is_the_command(spawn):
    """`python -m robbench` is the command, with its exit codes."""
    assert spawn("--version").out.startswith("robbench ")
    bad = spawn("explain", "pdg")
    assert (bad.code, bad.out, bad.err.count("\n")) == (2, "", 1)
    assert "pgd" in bad.err


@pytest.mark.parametrize(
    "words", [["list", "--json"], ["--help"], ["compare", "--csv"]], ids=" ".join
)
def test_a_closed_pipe_is_no_error(environment, attacked, words):
    """When the reader of stdout has gone, such as `head`, nothing is printed on stderr."""
    words = [*words, *(["--out", str(attacked)] if words[0] == "compare" else [])]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "robbench", *words],
            env=environment(),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert done.stderr == ""


def test_head_takes_what_it_wants(environment, attacked):
    """`robbench compare --json | head -1` prints its line and no error."""
    line = f"{sys.executable} -m robbench compare --json --out {attacked} | head -1"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


# -- list and explain


@pytest.mark.parametrize(
    "words",
    [
        *("attack no", "attack n*", "bundle no -o b.zip", "card no", "certify no", "check no"),
        *("inspect no", "measure no", "verify no", "verify no.zip"),
    ],
)
def test_a_name_that_means_nothing_is_refused_before_torch_loads(tmp_path, words):
    """It takes seconds."""
    code = (
        "import sys; from robbench.cli.app import run; "
        f"code = run({words.split()}); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
