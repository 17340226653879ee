"""Random numbers of one sample: from its key alone, the same on every machine.

Uniform numbers are those of `core/keyed.py`; the others are their quantiles.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr

from robbench.core import keyed

Floats = NDArray[np.float64]

_HALF = 2.0**-25  # half a step of the uniform numbers: none is 0 or 1


class Draws:
    """A stream of random numbers; each call takes the next ones."""

    def __init__(self, key: int) -> None:
        self.key = torch.tensor([key])
        self.calls = 0

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Floats:
        """Uniform on (low, high)."""
        drawn = keyed.uniform(self.key, shape, counter=self.calls)[0].numpy().astype(np.float64)
        self.calls += 1
        found: Floats = low + (high - low) * (drawn + _HALF)
        return found

    def normal(self, shape: tuple[int, ...]) -> Floats:
        """Standard normal."""
        found: Floats = ndtri(self.uniform(shape))
        return found

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Whole numbers from low to high - 1."""
        return np.floor(self.uniform(shape, low, high)).astype(np.int64)

    def poisson(self, mean: Floats) -> Floats:
        """Poisson with these means, of which there should be few different ones."""
        drawn = self.uniform(mean.shape).ravel()
        levels, which = np.unique(mean, return_inverse=True)
        order = np.argsort(which, axis=None, kind="stable")
        ends = np.cumsum(np.bincount(which.ravel()))[:-1]
        found = np.zeros(mean.size)
        for level, here in zip(levels.tolist(), np.split(order, ends), strict=True):
            found[here] = np.searchsorted(_poisson_cdf(level), drawn[here])
        return found.reshape(mean.shape)


@functools.lru_cache(maxsize=2048)
def _poisson_cdf(mean: float) -> Floats:
    """P(at most k) for k = 0, 1, ... until nothing is left."""
    most = math.ceil(mean + 12 * math.sqrt(mean) + 20)
    found: Floats = pdtr(np.arange(most), mean) if mean else np.ones(1)
    return found
