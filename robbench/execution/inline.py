"""Tasks one after the other in this process: no workers, nothing to start."""

from __future__ import annotations

import os
from collections.abc import Sequence

from robbench.execution.call import tried
from robbench.execution.task import Engine, Outcome, Running, Task


class Inline(Engine):
    """Runs a task when it is waited for. Signals reach the task, which raises Stopped."""

    def __init__(self) -> None:
        self._next: Task | None = None

    @property
    def free(self) -> int:
        return int(self._next is None)

    def start(self, task: Task) -> None:
        self._next = task

    def wait(self, timeout: float) -> list[Outcome]:
        task, self._next = self._next, None
        return [] if task is None else [tried(task, f"process {os.getpid()}")]

    def running(self) -> Sequence[Running]:
        task = self._next
        return [] if task is None else [Running(task.id, 0.0, 0.0, "", task.title)]

    def close(self) -> None:
        self._next = None
