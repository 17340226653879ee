"""In which order a sample goes through the attacks. No tensors here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Trial(NamedTuple):
    """One run of one attack on a sample."""

    eps_index: int  # position of the budget among the run's
    entry: int  # position of the attack in the cascade
    variant: int  # which of the attack's restarts or targets


class Stage(NamedTuple):
    """Trials that samples may be at in the same time: of our own attacks, or one of a backend."""

    positions: range
    backend: bool


class Schedule:
    """All trials in order: budget by budget, at each entry by entry, of each variant by variant.

    variants: how many each entry has. backends: whether the entry is another package's attack.
    """

    def __init__(self, budgets: int, variants: Sequence[int], backends: Sequence[bool]) -> None:
        self.backends = backends
        self.trials = [
            Trial(eps_index, entry, variant)
            for eps_index in range(budgets)
            for entry in range(len(variants))
            for variant in range(variants[entry])
        ]
        self.position = {trial: n for n, trial in enumerate(self.trials)}

    def stages(self) -> Iterator[Stage]:
        """All trials once: each of a backend alone, those between them together."""
        start = 0
        for n, trial in enumerate(self.trials):
            if self.backends[trial.entry]:
                if start < n:
                    yield Stage(range(start, n), backend=False)
                yield Stage(range(n, n + 1), backend=True)
                start = n + 1
        if start < len(self.trials):
            yield Stage(range(start, len(self.trials)), backend=False)

    def ends_entry(self, position: int) -> bool:
        """Whether the next trial is another attack's, or at another budget."""
        following = self.trials[position + 1 : position + 2]
        return not following or following[0][:2] != self.trials[position][:2]
