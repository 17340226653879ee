"""How far a sweep is, a line per task on stderr."""

from __future__ import annotations

from pathlib import Path

from robbench.cli.reporter import Reporter
from robbench.execution.task import Outcome
from robbench.reports.terminal.forecast import duration
from robbench.store.hints import command
from robbench.tasks.sweep.plan import Item
from robbench.tasks.sweep.run import Watcher


class SweepLines(Watcher):
    """Says what ended, how, and what is left."""

    def __init__(self, reporter: Reporter, name: str, out: Path) -> None:
        self.reporter = reporter
        self.name = name
        self.out = out
        self.total = 0
        self.over = 0

    def say(self, text: str) -> None:
        self.reporter.say(text)

    def begins(self, tasks: int, done: int) -> None:
        self.total, self.over = tasks, done
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

    def ended(self, item: Item, outcome: Outcome) -> None:
        self.over += 1
        done = outcome.status == "done"
        how = duration(outcome.seconds) if done else f"{outcome.status}: {outcome.error}"
        self.say(f"{self.over}/{self.total} {item.task.title}, {how}")
