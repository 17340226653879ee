"""Optimality: how near an attack's distances come to the best known ones, from 0 to 1.

Cina et al. 2025 (AttackBench), arXiv:2404.19460. Needs no torch.

With A(d) the area under robust accuracy as a function of the distance, from 0 to d_max, and A* that
of the best distances known of all attacks,

    optimality = 1 - (A - A*) / (c d_max - A*)

where c is the clean accuracy, so that c d_max is the area of an attack that finds nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def optimality(distances: ArrayLike, best: ArrayLike, end: float | None = None) -> float:
    """Of an attack's distances [n], given the best ones known [n]: in [0,1], 1 = none is better.

    A distance is the size of the smallest adversarial perturbation: 0 where the clean input is
    misclassified, inf where none was found. `end` is d_max, by default the largest finite best
    distance. NaN where nothing can be lost: no best distance is above 0, or all are at d_max.
    Raises ValueError for a distance below the best one, a negative one or NaN.
    """
    found, known = np.asarray(distances, float), np.asarray(best, float)
    if found.shape != known.shape or found.ndim != 1:
        raise ValueError(f"one distance per sample: {found.shape} and {known.shape} differ")
    if np.isnan(found).any() or not (known >= 0).all() or (found < known).any():
        raise ValueError("distances must be numbers, and no smaller than the best ones known")
    end = float(known[np.isfinite(known)].max(initial=0.0)) if end is None else end
    least, nothing = area(known, end), float((known > 0).mean()) * end if len(known) else 0.0
    if not nothing > least:
        return math.nan
    return 1 - (area(found, end) - least) / (nothing - least)


def area(distances: NDArray[np.float64], end: float) -> float:
    """Area under robust accuracy, the share of distances above d, for d from 0 to `end`."""
    return float(np.minimum(distances, end).mean()) if len(distances) else math.nan
