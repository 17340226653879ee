"""How far many tasks are, on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robbench.cli.progress import Clock
from robbench.core.escaping import one_line
from robbench.execution.task import Outcome, Running
from robbench.reports.terminal.forecast import duration

BAR = 10  # columns of a bar
LINES = 100  # off a terminal: so many for tasks that are done, as many as there are for others
AROUND = 4  # lines of a terminal that the table leaves


class JobsLines:
    """A line for each task that ended; where they are many, of those that are done one in some.

    tasks: how many there are. over: how many of them were done before. What is best so far is a
    text of the caller's.
    """

    def __init__(self, tasks: int, over: int = 0) -> None:
        self.tasks = tasks
        self.over = self.done = over
        self.failed = 0
        self.best = ""
        self.clock = Clock()
        self.every = max(1, tasks // LINES)

    def __enter__(self) -> JobsLines:
        self.clock.left(self.over / self.tasks)
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to end."""

    def tick(self, running: Sequence[Running]) -> None:
        """These tasks are in flight."""

    def ended(self, title: str, outcome: Outcome, best: str = "") -> None:
        """A task has ended; say so."""
        self.over += 1
        self.failed += outcome.status in ("failed", "lost")
        self.best = best or self.best
        done = outcome.status == "done"
        self.done += done
        if done and self.over % self.every and self.over < self.tasks:
            return
        how = duration(outcome.seconds) if done else f"{outcome.status}: {outcome.error}"
        rest = "" if self.over == self.tasks else f"; {self.left()}"
        self.say(f"{self.over}/{self.tasks} {title}, {how}{rest}")

    def left(self) -> str:
        """What time is left, and the best so far."""
        left = self.clock.left(self.over / self.tasks)
        return f"{left}; best so far: {self.best}" if self.best else left

    def say(self, text: str) -> None:
        """A line."""
        print(one_line(text), file=sys.stderr)


class _Seen(NamedTuple):
    """A task in flight as it was last heard of."""

    title: str
    began: float
    share: float
    text: str


class JobsTable(JobsLines):
    """A table of the tasks in flight below what is known of all; lines for what failed above."""

    def __init__(self, console: Console, name: str, tasks: int, over: int = 0) -> None:
        super().__init__(tasks, over)
        self.name = name
        self.console = console
        self.running: list[_Seen] = []
        self._live = Live(console=console, get_renderable=self.render, transient=True)

    def __enter__(self) -> JobsTable:
        super().__enter__()
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def tick(self, running: Sequence[Running]) -> None:
        now = time.monotonic()
        self.running = [_Seen(one.title, now - one.seconds, one.share, one.text) for one in running]

    def ended(self, title: str, outcome: Outcome, best: str = "") -> None:
        self.running = [one for one in self.running if one.title != title]
        super().ended(title, outcome, best)

    def say(self, text: str) -> None:
        self.console.print(Text(one_line(text)))

    def render(self) -> RenderableType:
        """Two lines about all tasks, and one about each in flight, as far as there is room."""
        running, share = self.running, (self.over + sum(o.share for o in self.running)) / self.tasks
        parts = [f"{self.done} of {self.tasks} done", f"{len(running)} running"]
        if self.failed:
            parts.insert(1, f"{self.failed} failed")
        parts.append(self.clock.left(share))
        lines: list[RenderableType] = [_line(f"{self.name}: {', '.join(parts)}")]
        if self.best:
            lines.append(_line(f"  best so far: {self.best}"))
        room = max(self.console.height - AROUND, 1)
        lines.append(_table(running[:room]))
        if len(running) > room:
            lines.append(_line(f"  and {len(running) - room} more"))
        return Group(*lines)


def _table(running: Sequence[_Seen]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
    for width in (BAR, len("100%"), len("59 min")):
        table.add_column(no_wrap=True, justify="right", width=width)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
    now = time.monotonic()
    for one in running:
        bar: Any = ProgressBar(total=1.0, completed=one.share, width=BAR) if one.share else ""
        percent = f"{one.share:.0%}" if one.share else ""
        title, text = Text(f"  {one_line(one.title)}"), Text(one_line(one.text))
        table.add_row(title, bar, percent, duration(now - one.began), text)
    return table


def _line(text: str) -> Text:
    return Text(one_line(text), no_wrap=True, overflow="ellipsis")
