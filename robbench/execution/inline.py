"""Tasks one after the other in this process: no workers, nothing to start."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from robbench.core.errors import RobbenchError, text_of
from robbench.execution.call import call
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
        if task is None:
            return []
        began, worker = time.monotonic(), f"process {os.getpid()}"
        try:
            value = call(task)
        except Exception as error:  # a task may run anybody's code
            code = error.exit_code if isinstance(error, RobbenchError) else 3
            said = text_of(error) or type(error).__name__
            return [
                Outcome(
                    task.id,
                    "failed",
                    error=" ".join(said.split()),
                    seconds=time.monotonic() - began,
                    worker=worker,
                    code=code,
                )
            ]
        return [Outcome(task.id, "done", value, seconds=time.monotonic() - began, worker=worker)]

    def running(self) -> Sequence[Running]:
        return []

    def close(self) -> None:
        self._next = None
