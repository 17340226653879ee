"""How many peaks a distribution has: Silverman's bootstrap test. NumPy and SciPy.

Kanai et al. (arXiv:2207.10283) tell losses apart by whether the histogram of logit margins has one
peak near zero or two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LEVEL = 0.05
DRAWS = 200
FEWEST = 50  # below this number of samples the test finds nothing
MOST_PEAKS = 4
_CELLS = 512
_TAIL = 0.02  # peaks are between these quantiles: bumps of a few outliers are none


def peaks(values: Floats, *, seed: int = 0, level: float = LEVEL, draws: int = DRAWS) -> int | None:
    """The smallest number of peaks, up to 4, that the values [N] do not contradict; None if N < 50.

    Silverman 1981, "Using kernel density estimates to investigate multimodality": for k = 1, 2, ...
    the smallest bandwidth at which a Gaussian kernel density has no more than k modes is large if
    the density has more than k. How large it is by chance is seen from `draws` samples of that very
    density, rescaled to the variance of the values; k is refused where no more than a share `level`
    of them needs a bandwidth as large. Modes are counted between the 2 % and 98 % quantiles. In
    simulations one bump, also a skewed or heavy-tailed one, is taken for more in about `level` of
    cases; a flat density, the border between one and several, in a third of them. Many bumps at
    equal distances look flat to it and pass for one. Values that are not finite are left out.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    if len(values) < FEWEST:
        return None
    spread = values.std()
    if spread < 1e-9 * max(1.0, float(np.abs(values).max())):
        return 1
    values = (values - values.mean()) / spread
    rng = np.random.default_rng(seed)
    for k in range(1, MOST_PEAKS):
        width = critical_bandwidth(values, k)
        shrink = 1 / np.sqrt(1 + width**2)
        larger = 0
        for _ in range(draws):
            drawn = rng.choice(values, len(values)) + width * rng.standard_normal(len(values))
            larger += count_modes(drawn * shrink, width) > k
        if larger / draws > level:
            return k
    return MOST_PEAKS


def critical_bandwidth(values: Floats, k: int) -> float:
    """The smallest bandwidth at which the density of the values [N] has at most k modes, to 1 %."""
    low, high = 1e-3, 2.0
    low, high = low * float(values.std()), high * float(values.std())
    if count_modes(values, low) <= k:
        return low
    # The number of modes of a Gaussian kernel density falls as the bandwidth grows.
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if count_modes(values, middle) <= k else (middle, high)
    return high


def count_modes(values: Floats, width: float) -> int:
    """Modes of the Gaussian kernel density of values [N] at a bandwidth, on 512 cells."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    room = (high - low) / 4 + 1e-12
    # The tails are piled up nowhere: what is outside the grid counts for the density through
    # its nearest cells only.
    counts, edges = np.histogram(values, _CELLS, (low - room, high + room))
    cell = edges[1] - edges[0]
    density = gaussian_filter1d(
        counts.astype(np.float64), max(width / cell, 0.5), mode="constant", truncate=5
    )
    inner = density[np.searchsorted(edges, low) : np.searchsorted(edges, high)]
    # A plateau is one mode; differences that are rounding are none.
    rises = np.sign(np.where(np.abs(np.diff(inner)) > 1e-12 * density.max(), np.diff(inner), 0))
    rises = rises[rises != 0]
    if not len(rises):
        return 1
    return int((np.diff(rises) < 0).sum()) + int(rises[-1] > 0) + int(rises[0] < 0)
