"""Finished samples on their way to disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from robbench.core.errors import Stopped
from robbench.store.partial import Partial
from robbench.tasks.signals import StopFlag

FLUSH_SECONDS = 2.0  # a killed process loses at most what was finished since
FLUSH_BYTES = 8 << 20  # of points in memory


class ShardWriter:
    """Writes finished samples every few seconds, the points first: a row on disk has its point.

    audited: they are those of the audit.
    """

    def __init__(self, partials: Sequence[Partial], *, audited: bool = False) -> None:
        self.partials = partials
        self.audited = audited
        self.flushed = time.perf_counter()
        self.held = 0  # bytes of points
        self.rows: list[list[dict[str, Any]]] = [[] for _ in partials]
        self.points: list[list[dict[str, Any]]] = [[] for _ in partials]

    def add(
        self,
        rows: Sequence[tuple[int, dict[str, Any]]],
        points: Sequence[tuple[int, dict[str, Any]]],
        now: bool,
    ) -> None:
        """Hold rows and points, each with the position of its eps; `now` writes them at once."""
        for kept, fresh in ((self.rows, rows), (self.points, points)):
            for level, row in fresh:
                kept[level].append(row)
        self.held += sum(len(row["delta"]) for _, row in points)
        if any(self.rows) and (
            now or time.perf_counter() - self.flushed > FLUSH_SECONDS or self.held > FLUSH_BYTES
        ):
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        for partial, found, places in zip(self.partials, self.rows, self.points, strict=True):
            partial.append_points(places)
            append = partial.append_audited if self.audited else partial.append
            append(found)
            found.clear()
            places.clear()
        self.flushed, self.held = time.perf_counter(), 0

    @contextlib.contextmanager
    def flushing_on_stop(self, stop: StopFlag) -> Iterator[None]:
        """Where a signal ends the work within a step, write what was finished before."""
        try:
            yield
        except Stopped:
            with stop.unhurried():
                self.flush()
            raise
