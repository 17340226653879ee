"""The largest margin there is: the hard-margin support vector machine on two sets of features.

Nar et al. 2019 (arXiv:1901.08360) hold the margin of a last layer against it.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SMALLEST = 1e-5  # of the radius of the points: smaller margins are rounding in float32
GAP = 1e-3  # the optimum is known to this share
# A margin g needs a cost of 1/g^2, in units of the radius, to be a hard one.
_COSTS = (1e4, 1e7, 1e10)
_STEPS = 200_000


class Optimum(NamedTuple):
    """Bounds of the best margin: a hyperplane with `low` was found, none exceeds `high`."""

    low: float
    high: float

    @property
    def separable(self) -> bool:
        """Whether a hyperplane was found that separates the two."""
        return self.low > 0

    @property
    def solved(self) -> bool:
        """Whether the optimum is known well enough to divide by it."""
        return self.low > 0 and self.low >= (1 - GAP) * self.high


def largest_margin(one: Floats, other: Floats) -> Optimum:
    """Distance of the nearest of points [N,D] and [M,D] to the hyperplane that separates them best.

    From the support vector machine's dual variables follow both bounds: its direction with the
    threshold in the middle has the margin `low`, and half the distance of the two weighted means of
    support vectors, points of the two convex hulls, is `high`. `low` is not positive where no
    separating hyperplane was found. Raises ValueError when a set is empty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    if not len(one) or not len(other):
        raise ValueError("a class has no samples")
    points = np.concatenate([one, other]).astype(np.float64)
    points -= points.mean(0)
    radius = float(np.linalg.norm(points, axis=1).max())
    if radius == 0:
        return Optimum(0.0, 0.0)
    points /= radius
    side = np.repeat([1, -1], [len(one), len(other)])
    best = Optimum(-np.inf, np.inf)
    for cost in _COSTS:
        machine = SVC(kernel="linear", C=cost, tol=1e-6, cache_size=200, max_iter=_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the bounds say how far it came
            machine.fit(points, side)
        weights = machine.dual_coef_[0]
        if not len(weights):
            break
        w = weights @ machine.support_vectors_
        length, total = float(np.linalg.norm(w)), float(np.abs(weights).sum())
        scores = points @ w
        low = (
            float(scores[side > 0].min() - scores[side < 0].max()) / (2 * length)
            if length > 0
            else -np.inf
        )
        best = Optimum(max(best.low, low), min(best.high, length / total))
        if best.solved or best.high < SMALLEST:
            break
    # Where the two bounds meet, rounding may put them the wrong way round.
    low = min(best.low, best.high)
    return Optimum(low * radius if best.high >= SMALLEST else 0.0, best.high * radius)
