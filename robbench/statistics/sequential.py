"""A sequential test: did robustness drop by more than is tolerated? Valid after every sample.

A bet against each answer starts with wealth 1. Where that answer is true the wealth is a
supermartingale, so it ever reaches 1/alpha with probability at most alpha (Ville's inequality): one
may stop at any time, for any reason. I. Waudby-Smith and A. Ramdas, "Estimating means of bounded
random variables by betting", JRSS B 86, 2024 (online 2023, arXiv:2010.09686): section 4 has the
bets, section 5 their form without replacement, which is used here: the N samples of a test set are
a finite population in random order, and once all are seen the answer is exact.
"""

from __future__ import annotations

import math
from array import array
from typing import Literal

Decision = Literal["regression", "pass"]


class PairedSequentialTest:
    """Decides whether the drop of robust accuracy on N paired samples is above `max_drop`.

    The drop is the baseline's robust accuracy minus the candidate's. `add` books one sample after
    another; `decision` is "regression" once the drop is shown to be above max_drop, "pass" once it
    is shown to be at most max_drop, else None; after all N samples it is never None. Each answer is
    given wrongly, at whatever time, with probability at most alpha, provided that the samples come
    in random order (shuffle them: a data set sorted by class is not) and each only once. It is a
    statement about these N samples; for one about all the images they were drawn from, give a
    population far above the number of samples. The first decision stays.

    max_drop in [0,1), population N >= 1, alpha in (0,1); anything else raises ValueError. Nothing
    here is random.
    """

    def __init__(self, max_drop: float, population: int, alpha: float = 0.05) -> None:
        if not 0 <= max_drop < 1:
            raise ValueError(f"a tolerated drop is at least 0 and below 1, not {max_drop}")
        if population < 1:
            raise ValueError(f"a population has at least one sample, not {population}")
        if not 0 < alpha < 1:
            raise ValueError(f"an error probability is between 0 and 1, not {alpha}")
        self.max_drop, self.population, self.alpha = max_drop, population, alpha
        self.total, self.decision = 0, None
        self._values = array("b")
        most = _most(max_drop, population)
        self._regression = _Bet(most, 1, population, alpha)
        self._pass = _Bet(-most - 1, -1, population, alpha)

    total: int
    """Samples so far that only the baseline got right, minus those only the candidate did."""
    decision: Decision | None

    @property
    def seen(self) -> int:
        """Samples booked so far, 0 to N."""
        return len(self._values)

    @property
    def drop(self) -> float:
        """Mean drop of the samples seen, in [-1,1]; nan before the first."""
        return self.total / self.seen if self.seen else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high) in [-1,1]: the drops of all N samples that neither bet has ruled out.

        Each end is beyond the true drop, at any time ever, with probability at most alpha, so both
        hold with 1 - 2 * alpha. low > max_drop where "regression" was shown, high <= max_drop where
        "pass" was; after N samples both are the drop. Should the ends have crossed (that takes one
        of those errors, or an order that is not random), they are swapped. Costs up to a second for
        100,000 samples: ask when it is shown, not after each sample.
        """
        low, high = (
            self._regression.least(self._values, self.total),
            -self._pass.least(self._values, self.total),
        )
        return min(low, high) / self.population, max(low, high) / self.population

    def add(self, baseline: bool, candidate: bool) -> None:
        """Book a sample: whether the baseline and whether the candidate was robust on it.

        Raises ValueError for what is neither true nor false (0 and 1 are fine), and for more
        samples than the population has.
        """
        if baseline not in (0, 1) or candidate not in (0, 1):
            raise ValueError(f"robust or not is 0 or 1, not {baseline} and {candidate}")
        if self.seen == self.population:
            raise ValueError(f"all {self.population} samples of the population were seen already")
        value = int(baseline) - int(candidate)
        for bet in (self._regression, self._pass):
            bet.add(value, self.total, self.seen)
        self.total += value
        self._values.append(value)
        if self.decision is None and self._regression.won:
            self.decision = "regression"
        elif self.decision is None and self._pass.won:
            self.decision = "pass"


class _Bet:
    """A bet that N values in {-1,0,1}, each times `sign`, add up to more than `bound`.

    If not, it cannot expect to gain.

    Before each draw the part f of the wealth buys shares that pay (1 + value) / (1 + mean), `mean`
    being what the draw would be on average if the rest made the total just `bound`: were the total
    less, so would be the pay. That is the paper's bet lambda = f / (1 + mean), never more than one
    has. The pay falls as `bound` rises, so what wins at one bound wins at all below it. Nobody
    knows the best f, so the wealth starts evenly spread over several (the paper's appendix calls
    that diversified Kelly).
    """

    def __init__(self, bound: int, sign: int, population: int, alpha: float) -> None:
        self.bound, self.sign, self.population = bound, sign, population
        # All wealth down to what could win within N draws if a quarter of them changed; in steps
        # that lose little growth.
        smallest = min(1.0, math.sqrt(8 * math.log(1 / alpha) / population))
        self.fractions = [2 ** (-i / 2) for i in range(math.ceil(-2 * math.log2(smallest)) + 1)]
        self.goal = len(self.fractions) / alpha
        self.logs = [0.0] * len(self.fractions)
        self.won = False

    def add(self, value: int, total: int, seen: int) -> None:
        """Book a value after `seen` others that add up to `total`."""
        if self.won:
            return
        value, total, left = self.sign * value, self.sign * total, self.population - seen
        # Where the total would be `bound` only if all the rest were -1, there is nothing to bet on.
        if rest := left + self.bound - total:
            shares = (1 + value) * left / rest
            for i, f in enumerate(self.fractions):
                wealth = 1 + f * (shares - 1)
                self.logs[i] += math.log(wealth) if wealth > 0 else -math.inf
        certain = total + value - (left - 1) > self.bound
        self.won = certain or sum(map(math.exp, self.logs)) >= self.goal

    def least(self, values: array[int], total: int) -> int:
        """The least total (times `sign`) that `values`, which sum to `total`, do not rule out."""
        left = self.population - len(values)
        # Ruled out for certain; possible for certain.
        low, high = (
            self.sign * total - left - 1,
            self.sign * total + left,
        )
        if self.won:
            low = max(low, min(self.bound, high - 1))
        else:
            high = min(high, self.bound)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._wins(values, middle) else (low, middle)
        return low + 1

    def _wins(self, values: array[int], bound: int) -> bool:
        """Whether this bet would have been won at any time, had it been placed at another bound."""
        import numpy as np

        value = self.sign * np.frombuffer(values, np.int8).astype(np.int64)
        left = self.population - np.arange(len(value))
        rest = left + bound - (np.cumsum(value) - value)
        shares = np.divide((1 + value) * left, rest, out=np.ones(len(value)), where=rest > 0)
        wealth = np.full(len(value), -math.inf)
        with np.errstate(divide="ignore"):
            for f in self.fractions:
                np.logaddexp(wealth, np.cumsum(np.log(1 + f * (shares - 1))), out=wealth)
        return len(value) > 0 and bool(wealth.max() >= math.log(self.goal))


def _most(max_drop: float, population: int) -> int:
    """The largest total with mean <= max_drop in floating point: 0.29 of 100 is 29, not 28."""
    total = math.floor(max_drop * population)
    while (total + 1) / population <= max_drop:
        total += 1
    while total / population > max_drop:
        total -= 1
    return total
