"""How far a job is, on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from robbench.core.escaping import one_line
from robbench.tasks.listener import Bar

PLAIN_SECONDS, PLAIN_SHARE = 30.0, 0.1  # off a terminal: a line at least this often


class LiveBar(Bar):
    """A rich progress bar, with one below it for each part of the job that has begun."""

    def __init__(self, live: Any, task: Any) -> None:
        self.live = live
        self.task = task
        self.parts: dict[str, Any] = {}

    def update(self, share: float, text: str) -> None:
        """Redrawn by rich at its own pace."""
        self.live.update(self.task, completed=share, note=text)

    def part(self, name: str, done: int, total: int, text: str) -> None:
        """A bar of the part's own, from its first sample on."""
        if total and name not in self.parts:
            self.parts[name] = (
                self.live.add_task(one_line(f"  {name}"), total=total, note=""),
                time.monotonic(),
            )
        if total:
            task, began = self.parts[name]
            rate = done / max(time.monotonic() - began, 1e-9)
            self.live.update(
                task, total=total, completed=done, note=f"{done}/{total}, {text}, {rate:.1f}/s"
            )


class PlainBar(Bar):
    """A line per tenth of the work or half a minute."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.last_time = time.monotonic()
        self.last_share = 0.0
        self.before = 0.0
        self.parts: dict[str, str] = {}

    def resume(self, share: float) -> None:
        """The estimate counts from there."""
        self.before = self.last_share = share

    def update(self, share: float, text: str) -> None:
        """Print when enough has happened since the last line.

        Short jobs stay silent until they end.
        """
        now = time.monotonic()
        if (
            share - self.last_share < PLAIN_SHARE and now - self.last_time < PLAIN_SECONDS
        ) or now - self.began < 1:
            return
        done = share - self.before
        left = (
            f"about {(now - self.began) / done * (1 - share):.0f} s left"
            if done > 0
            else "no estimate yet"
        )
        print(
            one_line(f"{self.title}: {share:.0%}, {text}, {now - self.began:.0f} s, {left}"),
            file=sys.stderr,
        )
        if len(self.parts) > 1:
            print(one_line("  " + "; ".join(self.parts.values())), file=sys.stderr)
        self.last_time, self.last_share = now, share

    def part(self, name: str, done: int, total: int, text: str) -> None:
        """Shown with the next line."""
        if total:
            self.parts[name] = f"{name} {done}/{total}, {text}"
