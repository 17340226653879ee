"""Exceptions as one line and an exit code; how wide tables are where there is no terminal."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.cli.reporter import error_line, fail, resume_command
from robbench.core.errors import UserError
from robbench.store.run import Run

NAME = "a-model-with-a-name-of-some-sixty-characters-which-is-too-long-x"


def test_an_error_raised_from_itself_ends() -> None:
    """`raise error from error` makes a circle of causes."""
    error = UserError("no such run")
    error.__cause__ = error
    assert error_line(error) == ("no such run", 2)


def test_the_message_of_an_error_of_ours_is_the_line() -> None:
    """Whatever robbench's own errors came from."""
    error = UserError("no such run")
    error.__cause__ = UserError("no such file")
    assert error_line(error) == ("no such run", 2)


def test_no_password_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an address that was typed, in the command to go on with and in anyone's exception."""
    address = "sftp://me:secret@host/runs"
    monkeypatch.setattr(sys, "argv", ["robbench", "attack", "at", "--force", "--out", address])
    assert resume_command() == "robbench attack at --out 'sftp://***@host/runs'"
    fail(*error_line(OSError(f"no route to {address}")))
    assert "no route to sftp://***@host/runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "width", "one_line"),
    [
        ({"COLUMNS": "200"}, 200, True),
        ({"COLUMNS": "60"}, 60, False),
        ({"COLUMNS": "200", "CI": "true"}, 200, True),
        ({"COLUMNS": "60", "CI": "true"}, 60, False),
        ({"COLUMNS": "", "CI": "true"}, 10_000, True),
        ({"COLUMNS": "", "CI": "false"}, 80, False),
        ({"COLUMNS": "many", "CI": ""}, 80, False),
    ],
)
def test_a_pipe_is_as_wide_as_columns_says(
    cli: Callable[..., Any],
    stored: Callable[..., Run],
    tmp_path: Path,
    variables: dict[str, str],
    width: int,
    one_line: bool,
) -> None:
    """A CI's log wraps nothing unless COLUMNS is set; elsewhere it is 80 columns."""
    stored("aaaa11111111", model=NAME)
    lines = cli("runs", tmp_path, env=variables).out.splitlines()
    assert max(map(len, lines)) <= width
    assert any(NAME in line and "aaaa11111111" in line for line in lines) is one_line
    assert any(line.strip() == NAME or NAME in line for line in lines) is (width > len(NAME))
    if not width > len(NAME):
        assert any(line.startswith(NAME[:20]) and line.endswith(NAME[-20:]) for line in lines)


class MuteError(Exception):
    """Its message cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_without_a_text_is_named() -> None:
    assert error_line(MuteError())[0].startswith("internal error, MuteError (a bug")


def test_a_path_that_nothing_names_is_not_called_none() -> None:
    assert "None" not in error_line(OSError(errno.ELOOP, "Too many links"))[0]


RAISES = """
import typer
from torch import nn


class Own(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


RAISED = {
    "own": Own("mine"),
    "unspeakable": Unspeakable(),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "exit": typer.Exit(0),
    "abort": typer.Abort(),
    "generator": GeneratorExit(),
    "stop": StopIteration(),
    "group": BaseExceptionGroup("many", [Own("a")]),
}


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.calls, self.body = kind, 0, nn.Linear(64, 10)

    def forward(self, x):
        self.calls += 1
        if self.calls > 40:
            raise RAISED[self.kind]  # here
        return self.body(x.flatten(1))


def net(kind: str = "own"):
    return Net(kind)
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("own", "Own: mine"),
        ("unspeakable", "Unspeakable"),
        ("pipe", "BrokenPipeError: [Errno 32] Broken pipe"),
        ("exit", "Exit: 0"),
        ("abort", "Abort"),
        ("generator", "GeneratorExit"),
        ("stop", "RuntimeError: generator raised StopIteration"),
        ("group", "BaseExceptionGroup: many (1 sub-exception)"),
    ],
)
def test_whatever_a_users_code_raises_is_one_line(
    cli: Callable[..., Any], private: Callable[..., Path], tmp_path: Path, kind: str, said: str
) -> None:
    """Also what is no Exception, and what from robbench itself would end a command silently."""
    folder = private("my_raises", RAISES)
    words = f"attack my_raises:net:kind={kind} --data digits --limit 60 --attack pgd --quiet --out"
    done = cli(words, tmp_path / "S", cwd=folder)
    line = next(n for n, text in enumerate(RAISES.splitlines(), 1) if text.endswith("# here"))
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: my_raises:Net raised {said} (my_raises.py, line {line}). "
        "Set ROBBENCH_DEBUG=1 for the traceback\n"
    )
