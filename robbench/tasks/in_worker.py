"""Who follows a job in a worker process: its log, and whoever watches the worker."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from robbench.core.escaping import one_line
from robbench.execution.progress import report
from robbench.tasks.listener import Bar, Listener


class WorkerListener(Listener):
    """Messages go to the task's log, progress to its engine."""

    def say(self, text: str) -> None:
        print(one_line(text), file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        self.say(text)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        yield WorkerBar()


class WorkerBar(Bar):
    """Progress of a task, for its engine."""

    def update(self, share: float, text: str, left: str = "") -> None:
        report(share, text)
