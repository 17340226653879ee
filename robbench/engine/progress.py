"""How far a cascade is: its attacks one by one, and the share of all work."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class EntryProgress:
    """How many samples (times budgets) have reached an attack, left it, and fallen to it."""

    spec: str
    reached: int = 0
    left: int = 0
    found: int = 0


class Work(NamedTuple):
    """How much of a cascade is done. Work is steps, each weighted by its time."""

    samples: int = 0
    decided: int = 0
    begun: int = 0  # that have come to an attack
    waiting: int = 0  # that will
    per_sample: float = 0.0  # work at most
    spent: float = 0.0  # work, on all samples
    open: float = 0.0  # of that, on samples that are not decided
    queries: float = 0.0  # about as many forwards and backwards


class Left(NamedTuple):
    """Seconds that are left: about, and at most; None where it is not known."""

    about: float | None
    at_most: float | None


class Meter:
    """Counts samples at the attacks `specs`, and work: `work_per_sample` at most for each."""

    def __init__(self, specs: Sequence[str], samples: int, work_per_sample: float) -> None:
        self.entries = [EntryProgress(spec) for spec in specs]
        self.samples = samples
        self.work_per_sample = work_per_sample
        self.done = 0  # samples that have a verdict
        self.skipped = 0  # of those, without an attack
        self.begun = 0  # samples that have come to an attack
        self.open = 0.0  # work on samples that have none
        self.spent = 0.0  # work on all
        self.queries = 0.0

    def reach(self, entry: int) -> None:
        """A sample has come to an attack."""
        before = self.entries[entry]
        self.entries[entry] = dataclasses.replace(before, reached=before.reached + 1)

    def leave(self, entry: int, *, found: bool) -> None:
        """A sample has left an attack, which has found an adversarial point or not."""
        before = self.entries[entry]
        self.entries[entry] = dataclasses.replace(
            before, left=before.left + 1, found=before.found + found
        )

    def take(self, work: float, queries: float = 0.0) -> None:
        """Work has been done, and queries have been made."""
        self.open += work
        self.spent += work
        self.queries += queries

    def finish(self, samples: int, work: float) -> None:
        """Samples are done, after so much work."""
        self.done += samples
        self.open -= work

    @property
    def now(self) -> Work:
        """All counts."""
        return Work(
            self.samples,
            self.done,
            self.begun,
            max(self.samples - max(self.begun + self.skipped, self.done), 0),
            self.work_per_sample,
            self.spent,
            max(self.open, 0.0),
            self.queries,
        )

    @property
    def share(self) -> float:
        """Of all work, at most; in [0,1]."""
        undecided = (self.samples - self.done) * self.work_per_sample
        total = self.samples * self.work_per_sample
        done = self.done * self.work_per_sample + min(max(self.open, 0), undecided)
        return done / total if total else 0.0


def left(work: Work, elapsed: float, expected: float | None = None) -> Left:
    """The time that is left after `elapsed` seconds of attack.

    Samples under attack may need all that is left of their bound. What the others will need is
    estimated from those under attack and decided. A forecast, `expected` in the unit of work,
    counts first, where it says less; it fades as samples are decided.
    """
    if work.spent <= 0 or elapsed <= 0:
        return Left(None, None)
    pace = elapsed / work.spent
    at_most = max((work.samples - work.decided) * work.per_sample - work.open, 0.0)
    attacked = work.samples - work.decided - work.waiting
    under = max(attacked * work.per_sample - work.open, 0.0)
    seen = min(under + work.waiting * (work.spent + under) / max(work.begun, 1), at_most)
    if expected is not None:
        weight = work.decided / max(work.samples, 1)
        forecast = min(max(expected - work.spent, 0.0), seen)
        seen = weight * seen + (1 - weight) * forecast
    return Left(pace * seen, pace * at_most)
