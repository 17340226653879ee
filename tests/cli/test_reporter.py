"""Exceptions as one line and an exit code; how wide tables are where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.cli.reporter import error_line
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
