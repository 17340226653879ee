"""In how many directions features vary. NumPy only.

Nar et al. 2019 (arXiv:1901.08360) report that the penultimate features of trained networks have a
low rank.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
NUMERICAL = 1e-3


def singular_values(features: Floats) -> NDArray[np.float64]:
    """Falling singular values [min(N,D)] of features [N,D] less their mean over the samples."""
    centred = features.astype(np.float64)
    centred -= centred.mean(0)
    return np.asarray(np.linalg.svd(centred, compute_uv=False))


def effective_rank(s: Floats) -> float:
    """Exponential of the entropy of s / sum(s): 1 to the number of non-zero s; 0 if all are zero.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    total = s.sum()
    if total <= 0:
        return 0.0
    p = s[s > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def numerical_rank(s: Floats, share: float = NUMERICAL) -> int:
    """How many singular values are above `share` of the largest."""
    return int((s > share * s.max(initial=0)).sum())


def energy(s: Floats) -> NDArray[np.float64]:
    """Share of the variance in the first 1, 2, ... directions, up to 1; zeros if there is none."""
    squares = np.cumsum(s.astype(np.float64) ** 2)
    return np.asarray(squares / squares[-1]) if len(s) and squares[-1] > 0 else np.zeros(len(s))
