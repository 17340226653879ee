"""How well one number orders samples as another does: Kendall's tau-b, AUROC, FPR at a TPR.

Intervals are for large samples: with fewer than about 30 they are too narrow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robbench.statistics.bootstrap import Estimate

Floats = NDArray[np.float64]

_PAIRS_AT_ONCE = 4_000_000
"""Pairs in memory at a time: some tens of megabytes."""


def kendall_tau(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Estimate:
    """Kendall's tau-b of two finite arrays [N], in [-1,1], with its interval at `level`.

    The standard error is the jackknife's, on the scale atanh(tau), so that ends stay in [-1,1]. NaN
    where one array is constant; no interval (NaN) below 3 samples, or where a sample decides
    whether one is constant. Takes N^2 steps. Raises ValueError for other shapes or values that are
    not finite. M. G. Kendall, "Rank correlation methods", 1970; J. N. Arvesen, "Jackknifing
    U-statistics", Ann. Math. Statist. 40, 1969.
    """
    x, y = _pair(first, second)
    n = len(x)
    agreement = _agreement(x, y)  # of each sample with all others
    apart_x, apart_y = (n - counts for counts in (_equal(x), _equal(y)))
    tau = _tau(agreement.sum(), apart_x.sum(), apart_y.sum())
    if n < 3 or math.isnan(tau):
        return Estimate(float(tau), math.nan, math.nan)
    without = _tau(*(of.sum() - 2 * of for of in (agreement, apart_x, apart_y)))
    error = math.sqrt((n - 1) / n * float(np.square(without - without.mean()).sum()))
    if error == 0:  # also where |tau| is 1
        return Estimate(float(tau), float(tau), float(tau))
    z, half = math.atanh(tau), _normal(level) * error / (1 - tau**2)
    return Estimate(float(tau), math.tanh(z - half), math.tanh(z + half))


def auroc(low: ArrayLike, high: ArrayLike, level: float = 0.95) -> Estimate:
    """P(a value of `low` [N] is below one of `high` [M]), ties half, with its interval at `level`.

    It is the area under the ROC curve for finding those of `low` by small values, in [0,1]. The
    interval is that of DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988. NaN where one has no
    values; no interval (NaN) where one has fewer than 2. Raises ValueError for values that are not
    finite.
    """
    small, large = (_finite(values) for values in (low, high))
    n, m = len(small), len(large)
    if not n or not m:
        return Estimate(math.nan, math.nan, math.nan)
    of_small, of_large = 1 - _share_below(large, small), _share_below(small, large)
    value = float(of_large.mean())
    if min(n, m) < 2:
        return Estimate(value, math.nan, math.nan)
    half = _normal(level) * math.sqrt(of_small.var(ddof=1) / n + of_large.var(ddof=1) / m)
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def false_positive_rate(low: ArrayLike, high: ArrayLike, found: float = 0.95) -> float:
    """Share of `high` [M] below the threshold that finds at least a share `found` of `low` [N].

    NaN where one has no values. Raises ValueError for values that are not finite.
    """
    small, large = (_finite(values) for values in (low, high))
    if not len(small) or not len(large):
        return math.nan
    threshold = np.sort(small)[max(math.ceil(found * len(small) - 1e-9), 1) - 1]
    return float((large <= threshold).mean())


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    x, y = _finite(first), _finite(second)
    if x.shape != y.shape:
        raise ValueError(f"one value each per sample: {x.shape} and {y.shape} differ")
    return x, y


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("ranks are of finite values in one row: leave others out")
    return array


def _agreement(x: Floats, y: Floats) -> Floats:
    """[N] for each sample, the others that both arrays put on one side of it, less the rest."""
    rows = max(1, _PAIRS_AT_ONCE // max(len(x), 1))
    found = np.zeros(len(x))
    for i in range(0, len(x), rows):
        signs = _signs(x[i : i + rows], x) * _signs(y[i : i + rows], y)
        found[i : i + rows] = signs.sum(1, dtype=np.int64)
    return found


def _signs(some: Floats, all_of: Floats) -> NDArray[np.int8]:
    above, below = (some[:, None] > all_of), (some[:, None] < all_of)
    return above.view(np.int8) - below.view(np.int8)


def _equal(values: Floats) -> Floats:
    """[N] how many are equal to each, itself included."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[inverse].astype(np.float64)


def _tau(agreement: Floats, apart_x: Floats, apart_y: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Floats = np.clip(agreement / np.sqrt(apart_x * apart_y), -1, 1)
    return tau


def _share_below(values: Floats, each: Floats) -> Floats:
    """[M] the share of `values` [N] below each of `each` [M], equal ones half."""
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, each, side) for side in ("left", "right"))
    shares: Floats = (below + upto) / (2 * len(values))
    return shares


def _normal(level: float) -> float:
    from scipy.special import ndtri

    if not 0 < level < 1:
        raise ValueError(f"a confidence level is between 0 and 1, not {level}")
    return float(ndtri((1 + level) / 2))
