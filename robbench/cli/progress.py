"""How far a job is, on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from robbench.core.escaping import one_line
from robbench.reports.terminal.forecast import duration
from robbench.tasks.listener import Bar

PLAIN_SECONDS, PLAIN_SHARE = 30.0, 0.1  # off a terminal: a line at least this often
FIRST_SECONDS = 5.0  # the first line comes sooner
SHORT = 1.0  # seconds that a job takes without a line


class Clock:
    """Tells what is left of a job from its share since the first report.

    What came before it, such as imports, is no work whose speed would tell anything.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first: tuple[float, float] | None = None  # seconds and share of the first report

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self.began

    def left(self, share: float) -> str:
        """If the rest is as fast as what is done."""
        elapsed = self.elapsed
        self.first = self.first or (elapsed, share)
        if share >= 1:
            return "done"
        seconds, done = elapsed - self.first[0], share - self.first[1]
        if done <= 0:
            return "no estimate yet"
        return f"about {duration(seconds / done * (1 - share))} left"


class LiveBar(Bar):
    """A rich progress bar, with one below it for each part of the job that has begun."""

    def __init__(self, live: Any, task: Any) -> None:
        self.live = live
        self.task = task
        self.clock = Clock()
        self.parts: dict[str, Any] = {}

    def update(self, share: float, text: str, left: str = "") -> None:
        """Redrawn by rich at its own pace."""
        self.live.update(self.task, completed=share, note=text, left=left or self.clock.left(share))

    def part(self, name: str, done: int, total: int, text: str) -> None:
        """A bar of the part's own, from its first sample on."""
        if total and name not in self.parts:
            self.parts[name] = (
                self.live.add_task(one_line(f"  {name}"), total=total, note="", left=""),
                time.monotonic(),
            )
        if total:
            task, began = self.parts[name]
            rate = done / max(time.monotonic() - began, 1e-9)
            self.live.update(
                task, total=total, completed=done, note=f"{done}/{total}, {text}, {rate:.1f}/s"
            )


class PlainBar(Bar):
    """A line per tenth of the work or half a minute, the first after a few seconds."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.clock = Clock()
        self.due = FIRST_SECONDS  # when a line is next, whatever the share
        self.last_share = 0.0
        self.parts: dict[str, str] = {}

    def resume(self, share: float) -> None:
        """The next line comes a tenth of the work later."""
        self.last_share = share

    def update(self, share: float, text: str, left: str = "") -> None:
        """Print when enough has happened since the last line.

        Short jobs stay silent until they end.
        """
        elapsed, left = self.clock.elapsed, left or self.clock.left(share)
        enough = elapsed >= SHORT and share - self.last_share >= PLAIN_SHARE
        if not enough and elapsed < self.due:
            return
        print(
            one_line(f"{self.title}: {share:.0%}, {text}, {elapsed:.0f} s, {left}"),
            file=sys.stderr,
        )
        if len(self.parts) > 1:
            print(one_line("  " + "; ".join(self.parts.values())), file=sys.stderr)
        self.due, self.last_share = elapsed + PLAIN_SECONDS, share

    def part(self, name: str, done: int, total: int, text: str) -> None:
        """Shown with the next line."""
        if total:
            self.parts[name] = f"{name} {done}/{total}, {text}"
