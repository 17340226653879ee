"""The main four commands, what they print where, and what they leave."""

from __future__ import annotations

import csv
import io
import json
import os
import re
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


def test_every_format_says_the_same(cli, attacked):
    """--json, --csv, --markdown and the table have the same rows and the same numbers."""
    formats = {
        flag: cli("compare", "ce", "at", "--out", attacked, *flag)
        for flag in ((), ("--json",), ("--csv",), ("--markdown",))
    }
    assert all(done.code == 0 and done.err == "" for done in formats.values())
    rows = formats[("--json",)].json["rows"]
    table = list(csv.DictReader(io.StringIO(formats[("--csv",)].out)))
    assert len(table) == len(rows) == 2
    for row, line in zip(rows, table, strict=True):
        assert list(row) == list(line)
        for key, value in row.items():
            assert line[key] == ("" if value is None else str(value)), key
        shown = [f"{100 * row['clean_accuracy']:.1f}%", f"{100 * row['robust_accuracy']:.1f}%"]
        for text in (formats[("--markdown",)].out, formats[()].out):
            (found,) = [
                part
                for part in text.splitlines()
                if re.match(rf"\|? ?(\*\*)?{row['model']} ", part)
            ]
            assert all(number in found for number in shown)


def test_two_formats_are_too_many(cli, attacked):
    """Asking for two formats is exit 2."""
    done = cli("compare", "--out", attacked, "--json", "--csv")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_compare_takes_names_ids_and_paths(cli, attacked):
    """A model's name, a run id, its first letters, a run's files and nothing mean the same runs."""
    rows = cli("compare", "--out", attacked, "--json").json["rows"]
    assert len(rows) == 2
    run = rows[0]["run_id"]
    files = [attacked / "results" / kind / f"{run}.parquet" for kind in ("runs", "samples")]
    for name in (rows[0]["model"], run, run[:6], *files):
        found = cli("compare", name, "--out", attacked, "--json").json["rows"]
        assert [row["run_id"] for row in found] == [run], name
        assert found[0]["robust_accuracy"] == rows[0]["robust_accuracy"]


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
    assert loud.out.count("\n") == 1
    assert "epoch 2" in loud.err
    quiet = cli(*words, tmp_path / "b", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out.count("\n") == 1
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


def registered():
    from robbench.catalogue.builtins import REGISTRIES

    return [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.entries]


def test_list_has_everything(cli):
    """`list` names every registered name with its summary, `list KIND` one kind's; --json too."""
    everything = cli("list")
    answer = cli("list", "--json").json
    for kind, name in registered():
        assert name in everything.out
        assert name in cli("list", kind).out
        assert name in [item["name"] for item in answer[kind]]
    assert "apgd" not in cli("list", "losses").out
    expected = {
        "losses": {"cross-entropy", "trades", "differential"},
        "attacks": {"fgsm", "pgd", "apgd", "pyautoattack"},
        "models": {"mlp", "small-cnn", "preact-resnet18", "wide-resnet", "pyautoattack-resnet18"},
        "data": {
            "digits",
            "mnist",
            "fashion-mnist",
            "cifar10",
            "cifar100",
            "svhn",
            "parquet",
            "folder",
        },
    }
    for kind, names in expected.items():
        assert {item["name"] for item in answer[kind]} >= names


@pytest.mark.parametrize(("kind", "name"), registered())
def test_explain_everything(cli, kind, name):
    """Every registered name is explained: what it is, options, types, defaults, definition."""
    done = cli("explain", name)
    assert done.code == 0, done.err
    assert name in done.out
    assert "defined in robbench." in done.out
    (entry,) = cli("explain", name, "--json").json["entries"]
    assert entry["kind"] == kind
    assert entry["doc"]
    for option in entry["options"]:
        assert option["name"] in done.out
        assert option["type"]
        assert option["help"], option["name"]


def test_explanations_fit_80_columns(cli):
    """Off a terminal an explanation has at most 80 columns and no escape codes."""
    for _, name in registered():
        done = cli("explain", name)
        assert ESCAPE not in done.out
        assert max(map(len, done.out.splitlines())) <= 80, name


def test_explain_shows_types_and_defaults(cli):
    """The options of PGD with their types and defaults, as its dataclass has them."""
    (entry,) = cli("explain", "pgd", "--json").json["entries"]
    options = {option["name"]: option for option in entry["options"]}
    assert options["steps"]["type"] == "int"
    assert options["steps"]["default"] == "40"
    assert options["init"]["type"] == "uniform | gaussian | clean"
    (alias,) = cli("explain", "apgd-t", "--json").json["entries"]
    assert alias["same_as"] == "apgd:objective=dlr-targeted"


def test_doctor_is_healthy_here(cli):
    """Here nothing is wrong: exit 0, versions of the packages, a device, and the folders."""
    import torch

    done = cli("doctor")
    assert done.code == 0, done.out
    assert "healthy" in done.out
    assert torch.__version__.partition("+")[0] in done.out
    answer = cli("doctor", "--json", env={"ROBBENCH_DATA_DIR": "/some/where"})
    assert answer.code == 0
    assert answer.json["problems"] == []
    assert answer.json["paths"]["data"] == "/some/where"
    assert any(device.startswith("cpu") for device in answer.json["devices"])


def test_doctor_says_when_torch_came_first(cli, monkeypatch):
    """On an Intel processor doctor advises the MKL setting, or names the one in force."""
    monkeypatch.setattr("robbench.cli.doctor.strict_branch", lambda: "AVX512,STRICT")
    monkeypatch.delenv("MKL_CBWR", raising=False)
    assert "set MKL_CBWR=AVX512,STRICT before torch is imported" in cli("doctor").out
    assert cli("doctor", "--json").json["kernels"] == {"mkl_cbwr": None, "advised": "AVX512,STRICT"}
    done = cli("doctor", env={"MKL_CBWR": "AVX2"})
    assert "MKL_CBWR=AVX2\n" in done.out
    assert "before torch" not in done.out


SEVERAL = """
import contextlib, io, json, sys
from robbench.cli.app import main
for line in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["robbench", *line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Runs several command lines in one process: a JSON list of exit codes, stdout, stderr."""
MISMATCH = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


def test_a_torchvision_that_does_not_fit(spawn, tmp_path):
    """A torchvision for another torch: doctor gives the remedy and exit 1; digits still work."""
    (tmp_path / "path" / "torchvision").mkdir(parents=True)
    (tmp_path / "path" / "torchvision" / "__init__.py").write_text(MISMATCH)
    env = {"PYTHONPATH": str(tmp_path / "path")}
    ill = spawn("doctor", env=env)
    assert ill.code == 1
    assert "torchvision::nms" in ill.out
    assert "pip install" in ill.out
    assert "Traceback" not in ill.err
    out = tmp_path / "S"
    lines = [
        f"train --model mlp --epochs 1 --limit 100 --name m --quiet --out {out}",
        f"attack m --attack fgsm --limit 20 --json --quiet --out {out}",
        f"train --data mnist --data-dir {mnist_lookalike(tmp_path)} --out {out}",
    ]
    done = spawn(*lines, env=env, code=SEVERAL)
    assert done.code == 0, done.err
    trained, attacked, refused = (json.loads(line) for line in done.out.splitlines())
    assert trained[0] == 0, trained
    assert attacked[0] == 0, attacked
    assert json.loads(attacked[1])["rows"][0]["n_samples"] == 20
    assert (refused[0], refused[2].count("\n")) == (2, 1), refused
    assert "doctor" in refused[2]


def mnist_lookalike(folder):
    """A data folder that looks as if torchvision's MNIST were there."""
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"")
    return folder / "data"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", ["inner_beyond", "ema"]),
        ("attack", ["store_points", "bf16"]),
        ("mnist-linf", ["eps_warmup = 0.5"]),
    ],
)
def test_settings_and_recipes_are_explained(cli, name, words):
    """`explain` knows both commands' settings and what a recipe sets, as text and JSON."""
    done = cli("explain", name)
    assert done.code == 0, done.err
    assert all(word in done.out for word in words)
    assert json.loads(cli("explain", name, "--json").out)["entries"][0]["name"] == name
