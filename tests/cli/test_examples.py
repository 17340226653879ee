"""Every help screen's example works; completion knows commands, options and runs."""

from __future__ import annotations

import inspect
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command

from robbench.cli.app import app

COMMANDS = get_command(app).commands
CHEAP = {
    "train": ["--epochs", "1"],
    "attack": ["--limit", "20"],
    "certify": ["--limit", "5"],
    "sweep": ["--epochs", "1", "--limit", "60"],
    "demo": None,
}
"""What keeps an example small; None: test_demo.py has it."""
FIRST = {
    "verify": (
        "attack at --attack fgsm --threat linf:0.15 --limit 20 --store-points",
        "bundle at@latest -o at.zip",
    )
}
"""What makes the files that an example takes."""
NEEDS = {"plot": "matplotlib", "query": "duckdb"}


def examples(name: str) -> list[str]:
    """The examples in a command's help."""
    return re.findall(
        r"^\s*Example: (robbench .+)$", inspect.getdoc(COMMANDS[name].callback) or "", re.MULTILINE
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_one_example_each(name):
    """Exactly one, of this very command."""
    (line,) = examples(name)
    assert shlex.split(line)[:2] == ["robbench", name]


@pytest.fixture
def place(attacked, tmp_path):
    """A folder whose `runs` holds the models and results of the main example."""
    shutil.copytree(attacked, tmp_path / "runs")
    return tmp_path


@pytest.mark.parametrize("name", [name for name in COMMANDS if CHEAP.get(name, []) is not None])
def test_the_example_works(name, cli, place):
    """It ends with 0 in a folder with ce and at trained and attacked, and prints something."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    words = shlex.split(examples(name)[0])[1:]
    for line in FIRST.get(name, ()):
        assert cli("", *shlex.split(line), cwd=place).code == 0, line
    done = cli(
        "", *words, *CHEAP.get(name, []), *(["--force"] if name == "train" else []), cwd=place
    )
    assert done.code == 0, done.err
    assert done.out or name in ("train", "merge")  # of which the second finds nothing to do


def test_every_command_is_in_a_group():
    """No command is left in the rest."""
    panels = {info.rich_help_panel for info in app.registered_commands}
    assert all(isinstance(panel, str) for panel in panels)
    assert 2 <= len(panels) <= 5


@pytest.mark.parametrize("name", COMMANDS)
def test_quiet_and_verbose_are_everywhere(name):
    """The same two flags for every command."""
    for command in getattr(COMMANDS[name], "commands", {name: COMMANDS[name]}).values():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {"-q", "--quiet", "-v", "--verbose"} <= flags


def _complete(spawn, line, cwd, shell="bash"):
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    env = {
        "_ROBBENCH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "import sys; sys.argv[0] = 'robbench'; from robbench.cli.app import main; main()"
    return spawn(env=env, cwd=cwd, code=code).out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("robbench co", {"compare"}),
        ("robbench compare --over", {"--over-seeds"}),
        ("robbench compare a", {"at"}),
        ("robbench show c", {"ce"}),
    ],
)
def test_completion(spawn, place, line, offered):
    """Commands, options, and the models of the output folder; never an error."""
    assert offered <= set(_complete(spawn, line, place))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_can_be_shown(spawn, shell):
    """What `--install-completion` installs names the command's own variable."""
    env = {"_ROBBENCH_COMPLETE": f"source_{shell}"}
    code = "import sys; sys.argv[0] = 'robbench'; from robbench.cli.app import main; main()"
    done = spawn(env=env, code=code)
    assert "_ROBBENCH_COMPLETE" in done.out
    assert f"complete_{shell}" in done.out


@pytest.mark.parametrize("words", ["list losses", "explain apgd", "doctor"])
def test_loudness_of_what_shows_the_installation(cli, words):
    """--quiet is shorter than the plain answer, --verbose longer."""
    quiet, plain, loud = (len(cli(f"{words} {flag}").out) for flag in ("--quiet", "", "--verbose"))
    assert quiet < plain < loud


def test_quiet_list_is_names_only(cli):
    """One name per line, for other commands to read."""
    names = cli("list losses --quiet").out.split()
    assert "trades" in names
    assert names == [
        entry["name"]
        for entry in sorted(
            cli("list losses --json").json["losses"], key=lambda entry: entry["name"]
        )
    ]


def test_no_colour_where_none_is_wanted(attacked):
    """On a terminal there is colour, with NO_COLOR none."""
    shown = {}
    for value in ("", "1"):
        leader, follower = pty.openpty()
        env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": value}
        command = [sys.executable, "-m", "robbench", "compare", "ce", "at", "--out", str(attacked)]
        subprocess.run(command, env=env, stdout=follower, stderr=follower, check=True)
        os.close(follower)
        shown[value] = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown[value] += part
        os.close(leader)
    assert b"\x1b[" in shown[""]
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", shown["1"])
