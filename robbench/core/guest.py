"""Code that is not ours: it sees no command line, prints no results, and answers for its errors."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple

from robbench.core.code import is_private
from robbench.core.errors import UserError


@contextlib.contextmanager
def guest_code(doing: str, name: str) -> Iterator[None]:
    """Import or call a user's code.

    `doing` says what, for the error; `name` is what the code sees as its program.

    `sys.argv` is the name alone, prints go to stderr. Raises UserError when the code ends the
    program (`sys.exit`, argparse).
    """
    argv = sys.argv
    sys.argv = [name]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        raise UserError(
            f"{doing} ended the program (SystemExit {error.code}); "
            'keep what parses the command line or exits under `if __name__ == "__main__":`'
        ) from error
    finally:
        sys.argv = argv


class Culprit(NamedTuple):
    """Whose code raised, such as `my_losses:Mine`, and where, such as `my_losses.py, line 12`."""

    name: str
    place: str


def culprit(error: BaseException) -> Culprit | None:
    """The user's or a plug-in's code that an exception, or what caused it, went through.

    None for ours alone. Named is what robbench called, the place is the innermost line of such
    code. Libraries have no part in it: a wrong shape that torch notices is the fault of the line
    that called torch.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if found := _of_traceback(cause.__traceback__):
            return found
        seen.add(id(cause))
        cause = cause.__cause__
    return None


def _of_traceback(trace: TracebackType | None) -> Culprit | None:
    name, place, entered = "", "", True
    for frame, line in traceback.walk_tb(trace):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == "robbench":
            entered = True
        elif is_private(module) or module.partition(".")[0] in _plugin_packages():
            if entered:
                name, entered = _name_of(frame, module), False
            place = f"{Path(frame.f_code.co_filename).name}, line {line}"
    return Culprit(name, place) if place else None


def _name_of(frame: FrameType, module: str) -> str:
    """`module:Class` of a method, `module:function`, or the module while it is imported."""
    kind = type(frame.f_locals.get("self"))
    if "self" in frame.f_locals and kind.__module__ != "builtins":
        return f"{kind.__module__}:{kind.__qualname__}"
    function = frame.f_code.co_qualname.partition(".<locals>")[0]
    return module if function.startswith("<") else f"{module}:{function}"


@functools.cache
def _plugin_packages() -> frozenset[str]:
    """The top-level modules of installed plug-ins."""
    points = importlib.metadata.entry_points()
    groups = (group for group in points.groups if group.startswith("robbench."))
    found = (point for group in groups for point in points.select(group=group))
    return frozenset(point.module.partition(".")[0] for point in found)
