"""What can go wrong, and the exit code that says whose turn it is.

RobbenchError          anything we report in one line
|-- UserError          bad input: arguments, config, data, files, models, plug-ins      (exit 2)
`-- RunError           the disk is full, the network is missing, training diverged      (exit 3)

What a user's own loss, attack or model raises in the middle of a run reaches a caller from Python
as it is; the command line says whose code it was, with exit 2 (`core/guest.py`).

Stopped                a signal asked us to stop; finished work is kept       (exit 130 or 143)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from robbench.core.escaping import without_password


class RobbenchError(Exception):
    """An error whose message is one line that says what was wrong and what to do.

    Addresses in it are told without passwords.
    """

    exit_code = 3

    def __str__(self) -> str:
        return without_password(super().__str__())


class UserError(RobbenchError):
    """The input was wrong; nothing was written."""

    exit_code = 2


class RunError(RobbenchError):
    """The input was fine but the run could not finish."""


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that no handler swallows it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def text_of(error: BaseException) -> str:
    """What an exception says; empty where that fails, as `__str__` may be a user's code."""
    try:
        return str(error)
    except Exception:
        return ""


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint such as `; did you mean pgd, apgd?`; where none is close all names, or `otherwise`.

    Initials are close: `ce` means cross-entropy.
    """
    names = sorted(known)
    short = [long for long in names if "-" in long and _initials(long) == name.lower()]
    close = short or difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {', '.join(close)}?"
    otherwise = otherwise or (names and f"known: {', '.join(names)}") or ""
    return f"; {otherwise}" if otherwise else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("-"))


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> UserError:
    """The error for an unknown name, with a hint as of `nearest`."""
    return UserError(f"unknown {kind} '{name}'{nearest(name, known, otherwise)}")
