"""Corruptions that are noise. Images [H,W,C] in [0,1]; what leaves the range is clipped later."""

from __future__ import annotations

import numpy as np

from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.draws import Draws, Floats


def gaussian_noise(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the standard deviation."""
    (deviation,) = strength.numbers
    return image + deviation * draws.normal(image.shape)


def shot_noise(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the photons of a white entry."""
    (photons,) = strength.numbers
    return draws.poisson(image * photons) / photons


def impulse_noise(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the share of entries that are replaced, half of them by white."""
    (share,) = strength.numbers
    hit, white = draws.uniform(image.shape) < share, draws.uniform(image.shape) < 0.5
    return np.where(hit, white.astype(np.float64), image)
