"""Proportions and p values: intervals, the exact McNemar test, Holm's correction.

What a comparison always needs is standard library only, so that it starts at once; the tests hold
all of it against scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

_MANY = 10_000
"""Above this, exact integers are slow, and logarithms still give nine digits."""

_TAIL = Fraction(1, 20)
_ROUNDING = 1e-6
"""Relative, above that of a probability that comes from logarithms, for up to 1e8 samples."""


def wilson(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson interval (low, high) in [0,1] of a proportion, k of n, at `level` in (0,1).

    n = 0 gives (0, 1): nothing was seen, so nothing is excluded. k may be the sum of n numbers in
    [0,1]: they spread no more than those of a proportion, so it covers their mean too. Raises
    ValueError unless 0 <= k <= n and 0 < level < 1. E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 1927.
    """
    _check_proportion(k, n, level)
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    # At the two ends one bound is exact; rounding must not move it off.
    return (max(0.0, centre - half) if k else 0.0), (min(1.0, centre + half) if k < n else 1.0)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval (low, high) in [0,1] of a proportion, k of n: coverage at least `level`.

    The ends are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k); n = 0 gives (0, 1).
    Wilson's is shorter and holds as often on average. Raises ValueError unless 0 <= k <= n and 0 <
    level < 1. C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits
    illustrated in the case of the binomial", 1934.
    """
    _check_proportion(k, n, level)
    from scipy.special import betainccinv, betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betainccinv(k + 1, n - k, tail)) if k < n else 1.0
    return low, high


def most_in_population(k: int, n: int, size: int) -> int:
    """How many of a population have a property at most, where k of n drawn from it have it.

    The upper end of the exact one-sided 95 % interval for a draw without replacement: the largest
    number M with P(X <= k) > 0.05, X hypergeometric. M / size is never above the upper end of
    Clopper and Pearson's one-sided interval, comes near it where the population is large, and is
    exact where all are drawn; nothing drawn excludes nothing. Raises ValueError unless 0 <= k <= n
    <= size. J. P. Buonaccorsi, "A note on confidence intervals for proportions in finite
    populations", The American Statistician 41, 1987.
    """
    if not 0 <= k <= n <= size:
        raise ValueError(f"{k} in {n} of {size} is no draw")
    if n == 0:
        return size
    # P(X <= k) is 1/2 or more where the mean n M / size is below k, and 0 above high.
    low, high = max(k, (k - 1) * size // n), size - n + k
    while low < high:
        most = (low + high + 1) // 2
        if _few_are_likely(k, n, most, size):
            low = most
        else:
            high = most - 1
    return low


def _few_are_likely(k: int, n: int, most: int, size: int) -> bool:
    """Whether P(X <= k) > 0.05, of n drawn from `size` with `most`; k not far above the mean."""
    # The terms relative to that of k: downwards they only shrink, so the sum ends when one no
    # longer counts.
    total = term = 1.0
    for j in range(k, 0, -1):
        term *= j * (size - most - n + j) / ((most - j + 1) * (n - j + 1))
        total += term
        if term < total * 1e-18:
            break
    logs = _log_comb(most, k) + _log_comb(size - most, n - k) - _log_comb(size, n)
    chance = total * math.exp(logs)
    if abs(chance / float(_TAIL) - 1) > _ROUNDING:
        return chance > _TAIL
    whole = sum(math.comb(most, j) * math.comb(size - most, n - j) for j in range(k + 1))
    return whole > _TAIL * math.comb(size, n)


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided p value in (0,1] of b samples that change one way and c the other.

    It is 2 * P(X <= min(b, c)) for X ~ Binomial(b + c, 1/2), at most 1, and 1 when nothing changed
    (b + c = 0); below 1e-308 it is 0. Raises ValueError for a negative count. Q. McNemar, "Note on
    the sampling error of the difference between correlated proportions or percentages", 1947.
    """
    if min(b, c) < 0:
        raise ValueError(f"counts cannot be negative: {b}, {c}")
    n, k = b + c, min(b, c)
    # The terms relative to the largest: from k <= n/2 downwards they only shrink, so the sum ends
    # when one no longer counts.
    total = term = 1.0
    for i in range(k, 0, -1):
        term *= i / (n - i + 1)
        if term < total * 1e-18:
            break
        total += term
    if n < _MANY:
        largest = math.comb(n, k) / (1 << n)
    else:
        largest = math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        )
    return min(1.0, 2 * total * largest)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values in [0,1], in their order, adjusted for the number of tests.

    The k-th smallest of m is multiplied by m - k + 1, at most 1 and never below a smaller one's;
    whatever holds between the tests, the probability of any false finding among them is at most
    alpha. Raises ValueError for what is no p value. S. Holm, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    if wrong := [p for p in p_values if not 0 <= p <= 1]:
        raise ValueError(f"a p value is between 0 and 1, not {wrong[0]}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _check_proportion(k: float, n: int, level: float) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} in {n} is not a proportion")
    if not 0 < level < 1:
        raise ValueError(f"a confidence level is between 0 and 1, not {level}")
