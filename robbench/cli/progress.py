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
    """Tells what is left of a job from its share, from where an earlier process left it."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.before = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self.began

    def left(self, share: float) -> str:
        """If the rest is as fast as what is done."""
        if share >= 1:
            return "done"
        done = share - self.before
        if done <= 0:
            return "no estimate yet"
        return f"about {duration(self.elapsed / done * (1 - share))} left"


class LiveBar(Bar):
    """A rich progress bar, with one below it for each part of the job that has begun."""

    def __init__(self, live: Any, task: Any) -> None:
        self.live = live
        self.task = task
        self.clock = Clock()
        self.parts: dict[str, Any] = {}

    def resume(self, share: float) -> None:
        """The estimate counts from there."""
        self.clock.before = share

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
        """The estimate counts from there."""
        self.clock.before = self.last_share = share

    def update(self, share: float, text: str, left: str = "") -> None:
        """Print when enough has happened since the last line.

        Short jobs stay silent until they end.
        """
        elapsed = self.clock.elapsed
        enough = elapsed >= SHORT and share - self.last_share >= PLAIN_SHARE
        if not enough and elapsed < self.due:
            return
        left = left or self.clock.left(share)
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
