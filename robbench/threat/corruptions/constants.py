"""How strong each severity is, as released with Hendrycks and Dietterich 2019, arXiv:1903.12261.

Two sets of numbers are published: of CIFAR-10-C, for images of 32x32, and of ImageNet-C, for
224x224. The set whose size is nearer, by ratio, is taken; lengths in pixels grow with the smaller
side of the image, and are never less than those for 32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Numbers = tuple[float, ...]

_SMALL, _LARGE = 32, 224

_CIFAR: dict[str, tuple[Numbers, ...]] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
}

_OF = 244 / 224  # what the released code calls the side of an image of 224

_IMAGENET: dict[str, tuple[Numbers, ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic_transform": (
        (2 * _OF, 0.7 * _OF, 0.1 * _OF),
        (2 * _OF, 0.08 * _OF, 0.2 * _OF),
        (0.05 * _OF, 0.01 * _OF, 0.02 * _OF),
        (0.07 * _OF, 0.01 * _OF, 0.02 * _OF),
        (0.12 * _OF, 0.01 * _OF, 0.02 * _OF),
    ),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
}


class Strength(NamedTuple):
    """The published numbers of a severity, and the factor by which its lengths grow."""

    numbers: Numbers
    scale: float


def strength(name: str, severity: int, height: int, width: int) -> Strength:
    """How strong a corruption is on an image of this size; severity: 1 to 5."""
    side = min(height, width)
    large = side > math.sqrt(_SMALL * _LARGE)
    numbers = (_IMAGENET if large else _CIFAR)[name][severity - 1]
    return Strength(numbers, side / _LARGE if large else max(1.0, side / _SMALL))


def magnifications(stop: float, step: float) -> list[float]:
    """Those of zoom blur, from 1 up to `stop`, which rounding of the steps may include."""
    found: list[float] = np.arange(1, stop, step).tolist()
    return found
