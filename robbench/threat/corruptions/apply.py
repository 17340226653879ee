"""Corrupted images, one by one on the CPU: no other sample of a batch changes anything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from robbench.threat.corruptions.blur import (
    defocus_blur,
    glass_blur,
    motion_blur,
    to_bytes,
    zoom_blur,
)
from robbench.threat.corruptions.constants import Strength, strength
from robbench.threat.corruptions.digital import (
    brightness,
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from robbench.threat.corruptions.draws import Draws, Floats
from robbench.threat.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from robbench.threat.corruptions.weather import fog, frost, snow

Corruption = Callable[[Floats, Strength, Draws], Floats]

FUNCTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}


def corrupt(image: Floats, name: str, severity: int, key: int) -> Floats:
    """An image [C,H,W] in [0,1], corrupted: of the same shape, in whole 255ths.

    Read as 8 bits too, as the published sets are. key: of its random numbers.
    """
    pixels = np.round(np.moveaxis(image, 0, 2) * 255) / 255
    level = strength(name, severity, *pixels.shape[:2])
    found = FUNCTIONS[name](pixels, level, Draws(key))
    return np.moveaxis(to_bytes(found), 2, 0) / 255


def corrupted(x: Tensor, name: str, severity: int, keys: Tensor) -> Tensor:
    """Images [B,C,H,W], corrupted, on the device of x; keys [B] int64: of the random numbers."""
    images = x.cpu().numpy().astype(np.float64)
    found = [
        corrupt(image, name, severity, key)
        for image, key in zip(images, keys.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(found)).to(x)
