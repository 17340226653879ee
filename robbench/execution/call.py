"""Makes the call that a task describes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from robbench.core.errors import RobbenchError, Stopped, text_of
from robbench.core.guest import culprit
from robbench.execution.task import Outcome, Task


def call(task: Task) -> Mapping[str, Any]:
    """What the task's function returns for its payload; what it raises passes through."""
    module, _, name = task.call.partition(":")
    function = getattr(importlib.import_module(module), name)
    result: Mapping[str, Any] = function(dict(task.payload))
    return result


def tried(task: Task, worker: str, log: TextIO | None = None) -> Outcome:
    """One try of a task, done or failed; Stopped passes through.

    The working folder is afterwards what it was: a task may run code that changes it.
    log: where the traceback goes of an error that is not one of robbench's own.
    """
    began = time.monotonic()
    try:
        with contextlib.chdir(os.curdir), _alone():
            value = call(task)
        json.dumps(value)
    except (Stopped, KeyboardInterrupt):
        raise
    except BaseException as error:  # a task may run anybody's code
        if log is not None and not isinstance(error, RobbenchError):
            traceback.print_exc(file=log)
        return Outcome(
            task.id,
            "failed",
            error=_one_line(error),
            seconds=time.monotonic() - began,
            worker=worker,
            code=error.exit_code if isinstance(error, RobbenchError) else 3,
        )
    return Outcome(task.id, "done", value, seconds=time.monotonic() - began, worker=worker)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Ends a child process that code inside forked and that comes out of it as its parent does."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)  # nothing is cleaned up: all of it is the parent's


def _one_line(error: BaseException) -> str:
    """What an error says; if it is not robbench's, also its type and the user's line it is of."""
    said = " ".join(text_of(error).encode(errors="backslashreplace").decode().split())
    if isinstance(error, RobbenchError):
        return said or type(error).__name__
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{what} ({whose.place})" if (whose := culprit(error)) else what
