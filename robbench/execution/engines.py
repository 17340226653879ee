"""Which engine runs the tasks of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from robbench.core.errors import UserError
from robbench.execution.inline import Inline
from robbench.execution.task import Engine

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = ("local", "ray")


def engine_for(
    engine: str = "local",
    *,
    jobs: int | None = None,
    address: str | None = None,
    device: str = "auto",
    logs: Path,
) -> Engine:
    """The engine for tasks, which the caller opens and leaves as a context manager.

    jobs: tasks at a time; None: one, on Ray as many as fit. address: of a Ray cluster. device: what
    the tasks compute on, as `--device` has it. logs: a folder, where each task's output goes.

    Raises UserError for values that do not fit each other, before anything is started.
    """
    if engine not in ENGINES:
        raise UserError(f"unknown engine '{engine}': use local or ray")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs should be 1 or more, not {jobs}")
    if address is not None and engine != "ray":
        raise UserError("address names a Ray cluster: use it with engine ray")
    if engine == "ray" or (jobs or 1) > 1:
        raise UserError("only one task at a time, on this machine")
    return Inline()
