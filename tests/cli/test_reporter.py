"""Exceptions as one line and an exit code."""

from __future__ import annotations

from robbench.cli.reporter import error_line
from robbench.core.errors import UserError


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
