"""Intervals of differences that are not proportions: the paired bootstrap over samples, the t interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

_DRAWN_AT_ONCE = 1_000_000
"""Indices in memory at a time: some tens of megabytes, whatever the number of samples and resamples."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, in the units of what was averaged, and how the interval was made.

    `method` is "bca", "percentile" or "t"; with "none" there is no interval and low and high are
    nan.
    """

    value: float
    low: float
    high: float
    method: Literal["bca", "percentile", "t", "none"]


def paired_bootstrap(
    values: Sequence[float] | Floats,
    baseline: Sequence[float] | Floats,
    *,
    seed: int,
    statistic: Literal["mean", "median"] = "mean",
    level: float = 0.95,
    resamples: int = 9999,
    clusters: Sequence[int] | Sequence[str] | None = None,
    samples: Sequence[int] | Sequence[str] | None = None,
) -> Estimate:
    """statistic(values) - statistic(baseline) of two arrays [N] paired by sample, with its bootstrap interval at `level`.

    Whole pairs are drawn with replacement. With `clusters` [N] (a label per pair: the writer, the
    patient, the training seed) as many clusters as there are are drawn first, then pairs within
    each. Where all clusters hold the same samples, as seeds with one test set do, name them in
    `samples` [N]: then one draw of samples serves all drawn clusters, else their common scatter
    would seem to average out. With few clusters (below ten or so) any bootstrap over them is too
    narrow: see `over_seeds_difference`.

    The interval is BCa, its acceleration from the jackknife over pairs (over clusters where given);
    where that is undefined (constant data, one cluster, infinite medians in reach, all resamples on
    one side) it is the percentile interval. A value of inf (an input margin beyond the largest
    budget) is refused for the mean; a median takes it, and may be inf. Where both medians of a
    resample are infinite, their difference could be anything: it counts as -inf for low and as inf
    for high; if those of the data are, the value is nan. NaN is refused: leave the pair out.

    The same seed gives the same interval. Raises ValueError for arrays that are empty, of other
    shapes or with values as above, unless 0 < level < 1 and resamples >= 1, and for `samples` that
    are not once in each cluster. B. Efron, "Better bootstrap confidence intervals", JASA 82, 1987;
    B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", 1993, section 14.3 (the
    formulas); A. C. Davison and D. V. Hinkley, "Bootstrap methods and their application", 1997,
    section 3.8 (clusters); A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1,
    2007 (clusters of the same samples).
    """
    import numpy as np

    shapes = np.shape(values), np.shape(baseline)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(
            f"paired arrays have one value each per sample, not the shapes {shapes[0]} and {shapes[1]}"
        )
    if statistic not in ("mean", "median"):
        raise ValueError(f"the statistic is mean or median, not {statistic}")
    pair = np.array([values, baseline], dtype=np.float64)
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"a bootstrap needs a level between 0 and 1 and resamples, not {level} and {resamples}"
        )
    if np.isnan(pair).any():
        raise ValueError("a value is missing (NaN): leave such pairs out")
    if np.isneginf(pair).any() or (statistic == "mean" and np.isinf(pair).any()):
        raise ValueError(
            "a mean of infinite values says nothing: use the median (which takes inf, not -inf)"
        )
    groups = _groups(clusters, pair.shape[1])
    # A mean of differences is a difference of means, and needs only one array drawn from.
    rows = np.subtract(pair[:1], pair[1:]) if statistic == "mean" else pair
    measure = _means if statistic == "mean" else _medians
    value = float(measure(rows[:, None])[0])
    if samples is not None:
        groups = _aligned(groups, samples)
    draws = _draws(groups, resamples, np.random.default_rng(seed), crossed=samples is not None)
    drawn = np.concatenate([measure(np.take(rows, index, axis=1)) for index in draws])
    unknown = np.isnan(drawn)
    left_out = _leave_one_out(rows) if clusters is None else _leave_cluster_out(rows, groups)
    tails = _bca_tails(value, drawn, left_out, level)
    low, high = tails or ((1 - level) / 2, (1 + level) / 2)
    ends = (
        _at(np.where(unknown, -np.inf, drawn), low, math.floor),
        _at(np.where(unknown, np.inf, drawn), high, math.ceil),
    )
    return Estimate(value, *ends, "bca" if tails else "percentile")


def over_seeds(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean over runs that differ in their seed only, one value each, with Student's t interval at `level`.

    It says where the mean of many more seeds would be, if values are about normal. One seed says
    nothing about that: there is no interval. Raises ValueError for no value, one that is not
    finite, and unless 0 < level < 1. Student (W. S. Gosset), "The probable error of a mean",
    Biometrika 6, 1908.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"a mean over seeds needs a finite value from each, not {list(values)}")
    if not 0 < level < 1:
        raise ValueError(f"a confidence level is between 0 and 1, not {level}")
    n, mean = len(values), fmean(values)
    if n == 1:
        return Estimate(mean, math.nan, math.nan, "none")
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, "t")


def over_seeds_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95
) -> Estimate:
    """Mean of values[seed] - baseline[seed] over the seeds, of two models trained with the same ones, as `over_seeds` does.

    Paired, so that what a seed does to both (order of the data, start of the weights) drops out.
    Raises ValueError where the seeds differ, and as `over_seeds`.
    """
    if values.keys() != baseline.keys():
        raise ValueError(
            f"only runs of the same seeds pair: {sorted(values)} and {sorted(baseline)} differ"
        )
    return over_seeds([value - baseline[seed] for seed, value in values.items()], level)


def _groups(clusters: Sequence[Any] | None, n: int) -> list[Indices]:
    """The positions of each cluster's pairs, in the order of the sorted labels; without clusters one group of all."""
    import numpy as np

    if clusters is None:
        return [np.arange(n)]
    if len(clusters) != n:
        raise ValueError(f"{n} pairs have {len(clusters)} cluster labels")
    _, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])


def _aligned(groups: list[Indices], samples: Sequence[Any]) -> list[Indices]:
    """The clusters' positions, each in the order of its sample labels."""
    import numpy as np

    labels = np.asarray(samples)
    if labels.shape != (sum(map(len, groups)),):
        raise ValueError(f"{sum(map(len, groups))} pairs have {len(labels)} sample labels")
    aligned = [group[np.argsort(labels[group])] for group in groups]
    once = np.unique(labels)
    if not all(np.array_equal(labels[group], once) for group in aligned):
        raise ValueError(
            "not every sample is in every cluster once: pair the ones they share, or leave out `samples`"
        )
    return aligned


def _draws(
    groups: list[Indices], resamples: int, random: np.random.Generator, crossed: bool = False
) -> Iterator[Indices]:
    """Blocks [R,n] of positions, `resamples` rows in all; with clusters of several sizes each row is a block, as n varies."""
    import numpy as np

    sizes = np.array([len(group) for group in groups])
    if (sizes != sizes[0]).any():
        flat, starts = np.concatenate(groups), np.cumsum(sizes) - sizes
        for _ in range(resamples):
            chosen = random.integers(len(groups), size=len(groups))
            size, start = (np.repeat(each[chosen], sizes[chosen]) for each in (sizes, starts))
            yield flat[start + (random.random(len(size)) * size).astype(np.int64)][None]
        return
    table = np.stack(groups)  # [G,n/G]
    at_once = max(1, _DRAWN_AT_ONCE // table.size)
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        within = random.integers(
            table.shape[1], size=(rows, 1 if crossed else len(table), table.shape[1])
        )
        clusters = random.integers(len(table), size=(rows, len(table), 1))
        yield table[clusters, within].reshape(rows, table.size)


def _means(drawn: Floats) -> Floats:
    """[1,R,n] differences -> [R]."""
    means: Floats = drawn[0].mean(axis=1)
    return means


def _medians(drawn: Floats) -> Floats:
    """[2,R,n] pairs -> [R]: the difference of two medians; nan where both are infinite."""
    import numpy as np

    low, high = (drawn.shape[2] - 1) // 2, drawn.shape[2] // 2
    parted = np.partition(drawn, sorted({low, high}), axis=2)
    return _difference((parted[..., low] + parted[..., high]) / 2)


def _difference(medians: Floats) -> Floats:
    import numpy as np

    with np.errstate(invalid="ignore"):
        difference: Floats = medians[0] - medians[1]
    return difference


def _leave_one_out(rows: Floats) -> Floats:
    """[N]: what `_means` of [1,N] or `_medians` of [2,N] is without each sample, in N log N; nan where that is undefined."""
    import numpy as np

    n = rows.shape[1]
    if n == 1:
        return np.full(1, np.nan)
    if len(rows) == 1:
        means: Floats = (rows[0].sum() - rows[0]) / (n - 1)
        return means
    order = np.argsort(rows, axis=1)
    ordered, rank = np.take_along_axis(rows, order, 1), np.argsort(order, axis=1)
    # Without the sample of rank r, what stood at k or above it moves down by one.
    low, high = (n - 2) // 2, (n - 1) // 2
    middle = [np.take_along_axis(ordered, k + (rank <= k), 1) for k in (low, high)]
    return _difference((middle[0] + middle[1]) / 2)


def _leave_cluster_out(rows: Floats, groups: list[Indices]) -> Floats:
    """[G]: the same without each cluster."""
    import numpy as np

    if len(groups) == 1:
        return np.full(1, np.nan)
    measure = _means if len(rows) == 1 else _medians
    return np.concatenate([measure(np.delete(rows, group, axis=1)[:, None]) for group in groups])


def _bca_tails(
    value: float, drawn: Floats, left_out: Floats, level: float
) -> tuple[float, float] | None:
    """The two probabilities whose quantiles of `drawn` are the BCa interval, or None where it is undefined."""
    import numpy as np

    below = (np.count_nonzero(drawn < value) + np.count_nonzero(drawn <= value)) / (2 * len(drawn))
    if not 0 < below < 1 or np.isnan(drawn).any() or not np.isfinite(left_out).all():
        return None
    influence = left_out.mean() - left_out
    scale = math.sqrt((influence**2).sum())
    if scale <= 1e-12 * np.abs(left_out).max():  # all alike up to rounding
        return None
    acceleration = float(((influence / scale) ** 3).sum()) / 6
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    shifts = [bias + normal.inv_cdf(tail) for tail in ((1 - level) / 2, (1 + level) / 2)]
    if max(acceleration * shift for shift in shifts) >= 1:
        return None
    low, high = (normal.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifts)
    return low, high


def _at(drawn: Floats, tail: float, rounding: Callable[[float], int]) -> float:
    """The quantile of `drawn` that is one of them, so that infinite ones need no interpolation."""
    import numpy as np

    k = min(max(rounding(tail * (len(drawn) + 1)) - 1, 0), len(drawn) - 1)
    return float(np.partition(drawn, k)[k])
