"""Where the rate of a row of runs on the same samples changed, with one error rate for all places.

At each place as many runs before it are held against as many after it, of several lengths: every
sample has a difference of its mean verdicts, and their sum over its root sum of squares is the
statistic. Samples are independent, the verdicts of one sample need not be. Each statistic is held
against the largest of all where every sample's differences keep or change their signs together at
random, so that none passes by chance with more than alpha; of two runs alone that is McNemar's
test. As the stretches are equally long, a difference is as likely as its opposite where nothing
changed. Of the stretches that pass the shortest are kept: each holds a change. V. Chernozhukov, D.
Chetverikov and K. Kato, "Gaussian approximations and multiplier bootstrap for maxima of sums of
high-dimensional random vectors", Annals of Statistics 41, 2013; P. Fryzlewicz, "Narrowest
significance pursuit: inference for multiple change-points in linear models", JASA 119, 2024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_DRAWS = 1999
_BLOCK = 2**21  # numbers of a block: some megabytes


class Change(NamedTuple):
    """A change of the rate: `place` is the number of the first run after it.

    It is between the runs `first` and `last` (first < place <= last), numbered from 0. p: corrected
    for all places and lengths looked at, in (0,1].
    """

    place: int
    first: int
    last: int
    p: float


class _Split(NamedTuple):
    """As many runs before a place as after it: begin to before place, place to before end."""

    begin: int
    place: int
    end: int


def change_points(
    verdicts: npt.NDArray[np.bool_], alpha: float = 0.05, seed: int = 0
) -> list[Change]:
    """The changes of the rate over verdicts [T,n] of T runs on n samples, in order of time.

    Where the rate never changed, one is found with probability at most alpha (in (0,1)); where it
    did, a stretch `first` to `last` without a change is among those found with at most the same.
    That is exact for two runs, for more it holds in the limit of many samples.
    The same seed gives the same answer. Raises ValueError for other shapes and another alpha.
    """
    import numpy as np

    if verdicts.ndim != 2 or not 0 < alpha < 1:
        raise ValueError(f"verdicts [T,n] and an alpha in (0,1), not {verdicts.shape} and {alpha}")
    varied = verdicts[:, verdicts.any(0) & ~verdicts.all(0)]
    splits = _splits(len(verdicts))
    if not varied.size or not splits:
        return []
    sums = np.concatenate([np.zeros((1, varied.shape[1])), varied.cumsum(0)]).astype(np.float32)
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1, 1], np.float32), (varied.shape[1], _DRAWS))
    seen = np.zeros(len(splits), np.float32)
    largest = np.zeros(_DRAWS, np.float32)
    step = max(1, _BLOCK // max(signs.shape))
    for i in range(0, len(splits), step):
        scaled = _scaled(sums, splits[i : i + step])
        seen[i : i + step] = np.abs(scaled.sum(1))
        largest = np.maximum(largest, np.abs(scaled @ signs).max(0))
    # Less a rounding error, which would make equal statistics unequal.
    below = np.searchsorted(np.sort(largest), seen - 1e-4)
    p_values = (1 + _DRAWS - below) / (1 + _DRAWS)
    found: list[tuple[_Split, float]] = []
    passed = zip(splits, seen.tolist(), p_values.tolist(), strict=True)
    shortest = sorted(passed, key=lambda one: (one[0].end - one[0].begin, -one[1]))
    for split, _, p in shortest:
        if p <= alpha and not any(_overlap(split, other) for other, _ in found):
            found.append((split, p))
    return _placed(sums, sorted(found))


def _splits(n: int) -> list[_Split]:
    """All places with 1, 2, 3, 4, 6, 8, 11, ... runs on each side."""
    found, half = [], 1
    while 2 * half <= n:
        found += [_Split(p - half, p, p + half) for p in range(half, n - half + 1)]
        half = max(half + 1, half * 4 // 3)
    return found


def _overlap(one: _Split, other: _Split) -> bool:
    """Whether they share two runs or more, between which both might see the same change."""
    return min(one.end, other.end) - max(one.begin, other.begin) > 1


def _scaled(sums: Floats, splits: list[_Split]) -> Floats:
    """Differences [K,n] of the samples at each split, over their root sum of squares."""
    import numpy as np

    begin, place, end = np.array(splits).T
    found: Floats = 2 * sums[place] - sums[begin] - sums[end]
    size = np.sqrt((found**2).sum(1, keepdims=True))
    found /= np.maximum(size, 1)  # whole numbers: less than 1 is none at all
    return found


def _placed(sums: Floats, found: list[tuple[_Split, float]]) -> list[Change]:
    """The changes, each inside its stretch, where the runs between its neighbours differ most.

    By the cumulative sums of their rates.
    """
    import numpy as np

    changes: list[Change] = []
    totals = sums.sum(1, dtype=np.float64)
    for i, (split, p) in enumerate(found):
        begin = changes[-1].place if changes else 0
        end = found[i + 1][0].place if i + 1 < len(found) else len(sums) - 1
        places = np.arange(split.begin + 1, split.end)
        before = (totals[places] - totals[begin]) / (places - begin)
        after = (totals[end] - totals[places]) / (end - places)
        weight = np.sqrt((places - begin) * (end - places))
        likeliest = int(places[(weight * np.abs(before - after)).argmax()])
        changes.append(Change(likeliest, split.begin, split.end - 1, p))
    return changes
