"""An exact test whether pairs of verdicts show a drop above any tolerance.

n pairs of verdicts are n values in {-1,0,1}: 1 where only the baseline is right, -1 where only the
candidate is; their mean is the drop. What counts as more extreme is Tango's score. Its distribution
depends on the true drop and, a little, on a nuisance, the share of pairs that differ: a p value is
the largest over the shares that the pairs do not rule out, plus the chance that they rule out the
true one. At no tolerated drop it is the unconditional form of McNemar's test. T. Tango,
"Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17, 1998; S. Suissa and J. J. Shuster, "The 2 x 2 matched-pairs
trial: exact unconditional design and analysis", Biometrics 47, 1991; R. L. Berger and D. D. Boos,
"P values maximized over a confidence set for the nuisance parameter", JASA 89, 1994.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from robbench.statistics.proportions import clopper_pearson

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

RULED_OUT = 1e-3
"""Chance that the true share of changed pairs is outside those looked at.

Every p value is at least this.
"""
_SHARES = 17
"""Shares looked at, evenly over their interval: the score hardly depends on them."""
_MANY = 5_000
"""Above this many changed pairs the score is close to normal, and the exact sum is slow."""
_NOTHING = 1e-18
"""A chance that adds nothing to a p value of 0.001 or more, even from thousands of terms."""
_STEPS = 16
"""Halvings in search of the end of an interval: to 0.002 points."""


def drop_p_values(lost: int, won: int, n: int, max_drop: float) -> tuple[float, float]:
    """P values of "the drop is at most max_drop" and "at least max_drop", each in [0.001,1].

    A first one of at most alpha shows a regression, a second one that the drop is tolerable; each
    errs with at most alpha. lost and won: pairs in which only the baseline, only the candidate is
    right, of n >= 1; max_drop in (-1,1) is a rate. Raises ValueError outside these ranges.
    """
    _check(lost, won, n)
    if not -1 < max_drop < 1:
        raise ValueError(f"a tolerated drop is between -1 and 1, not {max_drop}")
    return _p_at_most(lost, won, n, max_drop), _p_at_most(won, lost, n, -max_drop)


def drop_interval(lost: int, won: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """(low, high) in [-1,1] of the drop: what `drop_p_values` does not rule out at alpha.

    Each end is beyond the true drop with probability at most alpha, so both hold with 1 - 2 *
    alpha. Raises ValueError as `drop_p_values`, and unless 0.001 < alpha < 0.5.
    """
    _check(lost, won, n)
    if not RULED_OUT < alpha < 0.5:
        raise ValueError(
            f"an error probability here is above {RULED_OUT} and below 0.5, not {alpha}"
        )
    return _least(lost, won, n, alpha), -_least(won, lost, n, alpha)


def _check(lost: int, won: int, n: int) -> None:
    if min(lost, won) < 0 or n < 1 or lost + won > n:
        raise ValueError(f"{lost} lost and {won} won are not parts of {n} pairs")


@lru_cache(maxsize=4096)
def _least(lost: int, won: int, n: int, alpha: float) -> float:
    """The least drop that is not ruled out from below, by bisection.

    A history or a gate against many runs asks for the same few counts again and again.
    """
    low, high = -1.0, (lost - won) / n
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _p_at_most(lost, won, n, middle) <= alpha else (low, middle)
    return low


def _p_at_most(lost: int, won: int, n: int, drop: float) -> float:
    """The p value of "the true drop is at most `drop`": the largest over the nuisance share."""
    import numpy as np

    low, high = clopper_pearson(lost + won, n, 1 - RULED_OUT)
    if -drop > high:  # with no share that is possible can a drop be so low
        return RULED_OUT
    seen = float(_score(np.array([lost]), np.array([won]), n, drop)[0])
    if lost + won > _MANY:
        return min(1.0, NormalDist().cdf(-seen) + RULED_OUT)
    shares = np.linspace(max(low, -drop), high, _SHARES)
    return min(1.0, float(_tails(seen, n, drop, shares).max()) + RULED_OUT)


def _score(lost: npt.NDArray[np.int64], won: npt.NDArray[np.int64], n: int, drop: float) -> Floats:
    """Tango's score [K] of counts [K]: (lost - won - n drop) / its deviation at `drop`."""
    import numpy as np

    if drop < 0:
        return -_score(won, lost, n, -drop)
    # The likeliest chance q of a win where a loss has q + drop: the larger root of 2 n q^2 + b q -
    # won drop (1 - drop).
    b = 2 * n * drop - lost - won + (won - lost) * drop
    q = (np.sqrt(b**2 + 8 * n * won * drop * (1 - drop)) - b) / (4 * n)
    over, deviation = lost - won - n * drop, np.sqrt(n * np.maximum(2 * q + drop - drop**2, 0))
    endless = np.where(over > 0, math.inf, np.where(over < 0, -math.inf, 0.0))
    score: Floats = np.divide(over, deviation, out=endless, where=deviation > 1e-12)
    return score


def _tails(seen: float, n: int, drop: float, shares: Floats) -> Floats:
    """P(score >= seen) [S] for shares [S] of pairs that differ, the true drop being `drop`."""
    import numpy as np
    from scipy.special import bdtrc, gammaln, xlog1py, xlogy

    reach = 8 * math.sqrt(n * shares[-1] * (1 - shares[0])) + 30
    # Numbers of changed pairs [M].
    changed = np.arange(
        max(0, math.floor(n * shares[0] - reach)), min(n, math.ceil(n * shares[-1] + reach)) + 1
    )
    # The fewest losses [M] among m changed pairs that give this score: it rises with m.
    low, high = np.full_like(changed, -1), changed + 1
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 0)
        enough = _score(middle, changed - middle, n, drop) >= seen - 1e-9
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    # A larger drop makes losses, and with them large scores, likelier; it cannot be above the
    # share.
    loss = (
        np.divide(np.minimum(drop, shares), shares, out=np.ones_like(shares), where=shares > 0) / 2
        + 0.5
    )
    ways = gammaln(n + 1) - gammaln(changed + 1) - gammaln(n - changed + 1)
    # Probability [S,M] of m changed pairs.
    chance = np.exp(ways + xlogy(changed, shares[:, None]) + xlog1py(n - changed, -shares[:, None]))
    # The sum over losses is the slow part: only where it is neither 0 nor 1 and counts.
    most = np.where(high > 0, np.zeros_like(chance), 1.0)
    needed = (high > 0) & (high <= changed) & (chance > _NOTHING)
    bdtrc((high - 1).clip(0), changed, loss[:, None].clip(0, 1), out=most, where=needed)
    tails: Floats = (chance * most).sum(1)
    return tails
