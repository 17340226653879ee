"""Help pages and the frozen list of flags: renaming one breaks scripts, so also this test."""

from __future__ import annotations

import re

import pytest
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from robbench.cli.app import app, hyphens

HELP = {"--help", "-h"}
SHARED = {
    "--out",
    "-o",
    "--seed",
    "--device",
    "--limit",
    "-n",
    "--config",
    "-c",
    "--set",
    "-S",
    "--data-dir",
    "--download",
    "--force",
    "--dry-run",
    "--json",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--batch-size",
    "-b",
    "--trust-code",
}
RESULTS = {"--out", "-o", "--json", "--quiet", "-q", "--verbose", "-v"}
FLAGS = {
    "train": SHARED
    | {
        "--recipe",
        "--loss",
        "--data",
        "--model",
        "--from",
        "--teacher",
        "--inner",
        "--threat",
        "--name",
        "--epochs",
        "--lr",
        "--optimizer",
    },
    "attack": SHARED
    | {
        "--attack",
        "--audit",
        "--audit-attack",
        "--adaptive",
        "-a",
        "--threat",
        "--target",
        "--data",
        "--split",
        "--precision",
        "--compile",
        "--max-time",
        "--max-queries",
        "--store-points",
        "--replay",
        "--name",
        "--tag",
    }
    | {"--measure", "--shard", "--jobs", "-j", "--engine", "--address"},
    "merge": RESULTS,
    "sweep": (SHARED - {"--seed", "--config", "-c", "--batch-size", "-b"})
    | {
        "--grid",
        "-g",
        "--name",
        "--prefix",
        "--steps",
        "--data",
        "--epochs",
        "--attack",
        "-a",
        "--threat",
        "--jobs",
        "-j",
        "--engine",
        "--address",
        "--retries",
        "--processes-per-task",
        "--shard",
    },
    "inspect": (SHARED - {"--config", "-c", "--set", "-S", "--force", "--dry-run"})
    | {"--attack", "-a", "--threat", "--data", "--split", "--shape"},
    "measure": {
        "--out",
        "-o",
        "--device",
        "--data-dir",
        "--download",
        "--force",
        "--json",
        "--quiet",
        "-q",
        "--verbose",
        "-v",
    }
    | {"--train-samples", "--model", "--trust-code"},
    "check": RESULTS
    | {
        "--self-test",
        "--model",
        "--source",
        "--threat",
        "--data",
        "--split",
        "--seed",
        "--device",
        "--limit",
        "-n",
        "--data-dir",
        "--download",
        "--trust-code",
    },
    "history": RESULTS | {"--where", "--measure", "--last"},
    "verify": RESULTS
    | {"--model", "--data", "--device", "--data-dir", "--download", "--trust-code"},
    "bundle": RESULTS
    | {"--file", "--model", "--no-model"}
    | {"--device", "--data-dir", "--download", "--trust-code"},
    "card": RESULTS
    | {"--format", "--file", "--into", "--where", "--model"}
    | {"--data-dir", "--download", "--trust-code"},
    "certify": (SHARED - {"--batch-size", "-b", "--config", "-c", "--set", "-S", "--dry-run"})
    | {"--threat", "--method", "--data", "--split"},
    "gate": SHARED - {"--limit", "-n", "--config", "-c", "--set", "-S", "--dry-run"}
    | {
        "--baseline",
        "--branch",
        "--against",
        "--candidate",
        "--model",
        "--max-drop",
        "--max-clean-drop",
        "--max-margin-drop",
        "--max-class-drop",
    }
    | {"--alpha", "--these-samples", "--undecided", "--max-time", "--junit-xml", "--markdown"},
    "baseline": RESULTS | {"--branch"},
    "plot": RESULTS | {"--figure", "--csv", "--width", "--where", "--over-seeds"},
    "export": RESULTS | {"--to", "--where"},
    "report": RESULTS
    | {"--html", "--open", "--title", "--data-dir", "--trust-code"}
    | {"--where", "--over-seeds", "--cdn"},
    "view": RESULTS
    | {"--html", "--open", "--title", "--data-dir", "--trust-code", "--where", "--limit", "-n"}
    | {"--trace", "--seed", "--device", "--download"},
    "compare": RESULTS
    | {
        "--where",
        "--allow",
        "--over-seeds",
        "--best-last",
        "--pivot",
        "--columns",
        "--sort",
        "--fail-on",
        "--csv",
        "--markdown",
        "--latex",
        "--parquet",
    },
    "show": RESULTS,
    "runs": RESULTS | {"--latest"},
    "query": RESULTS | {"--csv", "--parquet", "--allow-files"},
    "list": {"--data-dir", "--json", "--quiet", "-q", "--verbose", "-v"},
    "explain": {"--data-dir", "--json", "--quiet", "-q", "--verbose", "-v"},
    "demo": {"--out", "-o", "--device", "--force", "--quiet", "-q", "--verbose", "-v"},
    "doctor": {"--data-dir", "--json", "--quiet", "-q", "--verbose", "-v"},
    "cascade suggest": RESULTS
    | {"--where", "--max-queries", "--seed", "--toml", "--force", "--trust-code"},
}
ARGUMENTS = {
    "train": [],
    "attack": ["models"],
    "merge": ["runs"],
    "sweep": ["file"],
    "inspect": ["model"],
    "compare": ["runs"],
    "measure": ["runs"],
    "check": ["target"],
    "verify": ["targets"],
    "bundle": ["runs"],
    "card": ["runs"],
    "certify": ["models"],
    "history": ["name"],
    "gate": [],
    "baseline": ["action", "run"],
    "plot": ["kind", "runs"],
    "export": ["runs"],
    "report": ["runs"],
    "view": ["runs"],
    "show": ["run"],
    "runs": ["folder"],
    "query": ["sql", "folder"],
    "list": ["kind"],
    "explain": ["name"],
    "demo": [],
    "doctor": [],
    "cascade suggest": ["runs"],
}


def commands():
    found = dict(get_command(app).commands)
    group = found.pop("cascade").commands
    return found | {f"cascade {name}": command for name, command in group.items()}


def test_the_commands():
    """These commands exist, and no other."""
    assert set(commands()) == set(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_the_flags(name):
    """Exactly these flags and arguments, --help aside."""
    parameters = commands()[name].params
    flags = {
        text
        for p in parameters
        if p.param_type_name == "option"
        for text in [*p.opts, *p.secondary_opts]
    }
    assert flags - HELP == FLAGS[name]
    assert [p.name for p in parameters if p.param_type_name == "argument"] == ARGUMENTS[name]


@pytest.mark.parametrize("name", ["", *FLAGS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(name, flag):
    """Every help page ends with 0, fits 80 columns, has no escape codes and names every flag."""
    done = CliRunner().invoke(
        app,
        [*name.split(), flag],
        env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"},
    )
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    for text in FLAGS[name] if name else [each.split()[0] for each in FLAGS]:
        assert text in done.stdout


@pytest.mark.parametrize("name", FLAGS)
def test_help_has_an_example(name):
    """Help pages show a command one can copy."""
    assert (
        f"robbench {name}"
        in CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "120"}).stdout
    )


def test_every_option_has_a_help_text():
    """No option is left unexplained."""
    for name, command in commands().items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), (name, parameter.name)


def test_brackets_in_help_texts_are_seen():
    """No word in square brackets is taken for markup: those that are meant are escaped."""
    for name, command in commands().items():
        for text in [command.help, *(parameter.help for parameter in command.params)]:
            assert Text.from_markup(text).plain == text.replace("\\[", "["), name


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--batch_size", "4"], ["--batch-size", "4"]),
        (["--batch_size=4"], ["--batch-size=4"]),
        (["--set", "batch_size=4"], ["--set", "batch_size=4"]),
        (["--set=batch_size=4"], ["--set=batch_size=4"]),
        (["-n", "a_b", "my_model", "--out=a_b"], ["-n", "a_b", "my_model", "--out=a_b"]),
        (["--", "--a_b"], ["--", "--a_b"]),
    ],
)
def test_underscores_in_flags(words, changed):
    """Underscores become hyphens in long flags' names only: values and all after `--` stay."""
    assert hyphens(words) == changed


def test_underscores_work(cli, tmp_path):
    """`--batch_size` and `--dry_run` are taken as they were meant."""
    done = cli("train", "--batch_size", 17, "--dry_run", "--out", tmp_path / "S")
    assert done.code == 0, done.err
    assert done.json["config"]["batch_size"] == 17


def test_version(cli):
    """--version is one line on stdout."""
    import robbench

    done = cli("--version")
    assert (done.code, done.out) == (0, f"robbench {robbench.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["trian"],
        ["train", "--lss", "x"],
        ["train", "surplus"],
        ["attack"],
        ["attack", "ce", "--seed", "many"],
        ["query"],
        ["train", "--epochs"],
        ["compare", "--json=yes"],
    ],
    ids=" ".join,
)
def test_the_parsers_own_errors(cli, words):
    """What the parser refuses is one line that says where help is, and exit 2."""
    done = cli(*words)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert re.search(r"robbench.* --help", done.err)


@pytest.mark.parametrize(
    ("words", "among"), [("", "train"), ("cascade", "suggest"), ("baseline", "set|show")]
)
def test_no_command_shows_help(cli, words, among):
    """Where a command is missing its help comes once, on one stream; exit 2 as typer has it."""
    done = cli(words)
    text = done.out + done.err
    assert text.count("Usage:") == 1
    assert among in text
    assert "Traceback" not in text
    assert done.code == 2
