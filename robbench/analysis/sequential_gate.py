"""A gate that judges a candidate after each attacked sample and says when to stop."""

from __future__ import annotations

from robbench.analysis.gate_checks import CLEAN, ROBUST, GateCheck, Tolerances, needed_for_rate
from robbench.statistics.paired import drop_interval, drop_p_values
from robbench.statistics.proportions import mcnemar_exact
from robbench.statistics.sequential import PairedSequentialTest

_LIKE_THEM = 1000
"""For images like n samples the population is n times this, so that it is not exhausted."""


class SequentialGate:
    """Decides robust accuracy, and clean accuracy if limited, on up to n samples of a baseline.

    Each answer is given wrongly with probability at most alpha. For images like the samples, half
    of alpha is for stopping early (`PairedSequentialTest`) and half for the exact paired test that
    decides once all n are seen; for these samples only, all of it is for stopping early, and after
    n samples the answer is certain. The samples must come in random order. Raises ValueError where
    neither rate has a tolerated drop.
    """

    def __init__(self, tolerances: Tolerances, n: int) -> None:
        self.tolerances, self.n = tolerances, n
        self.alpha = tolerances.alpha if tolerances.these_samples else tolerances.alpha / 2
        population = n if tolerances.these_samples else _LIKE_THEM * n
        limits = {ROBUST: tolerances.robust, CLEAN: tolerances.clean}
        self.limits = {metric: limit for metric, limit in limits.items() if limit is not None}
        if not self.limits:
            raise ValueError(
                "a gate that stops early needs a tolerated drop of robust or of clean accuracy"
            )
        self.tests = {
            metric: PairedSequentialTest(limit, population, self.alpha)
            for metric, limit in self.limits.items()
        }
        # Right in the baseline, lost, won.
        self.counts = {metric: [0, 0, 0] for metric in self.limits}

    @property
    def seen(self) -> int:
        """Samples booked so far."""
        return next(iter(self.tests.values())).seen

    @property
    def decided(self) -> bool:
        """Whether to stop: a regression is shown, all answers are, or all samples are seen."""
        decisions = [test.decision for test in self.tests.values()]
        return "regression" in decisions or None not in decisions or self.seen == self.n

    def add(self, robust: tuple[bool, bool], clean: tuple[bool, bool]) -> None:
        """Add a sample: whether baseline and candidate are correct under attack and without."""
        for metric, (mine, theirs) in ((ROBUST, robust), (CLEAN, clean)):
            if metric in self.tests:
                self.tests[metric].add(mine, theirs)
                counts = self.counts[metric]
                self.counts[metric] = [
                    counts[0] + mine,
                    counts[1] + (mine and not theirs),
                    counts[2] + (theirs and not mine),
                ]

    def checks(self) -> list[GateCheck]:
        """What is known now; of at least one sample.

        Undecided ones say how many would probably decide.
        """
        return [self._check(metric, test) for metric, test in self.tests.items()]

    def _check(self, metric: str, test: PairedSequentialTest) -> GateCheck:
        right, lost, won = self.counts[metric]
        n, limit = test.seen, self.limits[metric]
        decision, (low, high) = test.decision, test.interval
        worse = fine = needed = None
        if decision is None and n == self.n:
            worse, fine = drop_p_values(lost, won, n, limit)
            low, high = drop_interval(lost, won, n, self.alpha)
            decision = (
                "regression" if worse <= self.alpha else "pass" if fine <= self.alpha else None
            )
        if decision is None:
            needed = (
                self.n
                if self.tolerances.these_samples
                else needed_for_rate(lost, won, n, limit, self.alpha)
            )
        return GateCheck(
            metric=metric,
            baseline=right / n,
            candidate=(right - lost + won) / n,
            drop=(lost - won) / n,
            low=low,
            high=high,
            tolerance=limit,
            decision=decision or "undecided",
            n=n,
            method="exact" if worse is not None else "sequential",
            lost=lost,
            won=won,
            p_regression=worse,
            p_pass=fine,
            needed=needed,
            mcnemar_p=mcnemar_exact(lost, won)
            if n == self.n
            else None,  # means nothing where the data said when to stop
        )
