"""How far a cascade is: its attacks one by one, and the share of all work."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class EntryProgress:
    """How many samples (times budgets) have reached an attack, left it, and fallen to it."""

    spec: str
    reached: int = 0
    left: int = 0
    found: int = 0


class Meter:
    """Counts samples at the attacks `specs`, and steps: `work_per_sample` at most for each."""

    def __init__(self, specs: Sequence[str], samples: int, work_per_sample: int) -> None:
        self.entries = [EntryProgress(spec) for spec in specs]
        self.samples = samples
        self.work_per_sample = work_per_sample
        self.done = 0  # samples that have a verdict
        self.work = 0  # steps taken for the others

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

    def finish(self, samples: int, work: int) -> None:
        """Samples are done, after so much work."""
        self.done += samples
        self.work -= work

    @property
    def share(self) -> float:
        """Of all work, at most; in [0,1]."""
        undecided = (self.samples - self.done) * self.work_per_sample
        total = max(self.samples * self.work_per_sample, 1)
        return (self.done * self.work_per_sample + min(max(self.work, 0), undecided)) / total
