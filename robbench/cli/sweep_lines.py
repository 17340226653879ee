"""How far a sweep is, on stderr."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Self

from robbench.cli.jobs_table import JobsLines, JobsTable
from robbench.cli.reporter import Reporter
from robbench.execution.task import Engine, Outcome
from robbench.reports.texts import percent
from robbench.store.hints import command
from robbench.tasks.sweep.plan import Item
from robbench.tasks.sweep.run import Watcher


class SweepLines(Watcher):
    """Says what ended, how, what is left and what is best so far: live on a terminal.

    Used as a context manager: leaving it ends the live display.
    """

    def __init__(self, reporter: Reporter, name: str, out: Path) -> None:
        self.reporter = reporter
        self.name = name
        self.out = out
        self.jobs: JobsLines | None = None
        self.best: dict[str, tuple[float, str]] = {}  # of each threat model
        self._shown = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._shown.close()

    def say(self, text: str) -> None:
        self.reporter.say(text)

    def begins(self, tasks: int, done: int) -> None:
        if tasks == done:
            self.say(
                f"sweep {self.name}: all {tasks} tasks are done already; nothing to do (--force "
                "does them again)"
            )
            return
        before = f", {done} of them done before" if done else ""
        self.say(f"sweep {self.name}: {tasks} tasks{before}")
        look = command("compare", "--where", f"tag=sweep={self.name}", out=self.out)
        self.reporter.detail(f"to compare what is done so far: {look}")
        if not self.reporter.quiet:
            self.jobs = self._shown.enter_context(self._display(tasks, done))

    def tick(self, engine: Engine) -> None:
        if self.jobs is not None:
            self.jobs.tick(engine.running())

    def ended(self, item: Item, outcome: Outcome) -> None:
        if self.jobs is not None:
            self.jobs.ended(item.task.title, outcome, self._best(outcome))

    def _display(self, tasks: int, done: int) -> JobsLines:
        if not sys.stderr.isatty():
            return JobsLines(tasks, done)
        from rich.console import Console

        return JobsTable(Console(stderr=True), f"sweep {self.name}", tasks, done)

    def _best(self, outcome: Outcome) -> str:
        """The most robust model so far under the threat model of an attack that ended."""
        found, best = outcome.value or {}, ""
        if "threats" not in found:
            return best
        for threat, accuracy in zip(found["threats"], found["robust_accuracy"], strict=True):
            if accuracy is None:  # no budget
                continue
            new = (accuracy, found["model"])
            self.best[threat] = max(self.best.get(threat, new), new)
            most, model = self.best[threat]
            best = f"{model}, {percent(most)} robust at {threat}"
        return best
