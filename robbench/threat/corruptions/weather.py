"""Corruptions that are weather. Images [H,W,C] in [0,1]."""

from __future__ import annotations

import numpy as np

from robbench.threat.corruptions.blur import streak, to_bytes, zoomed
from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.draws import Draws, Floats

_LUMA = np.array([0.299, 0.587, 0.114])
_ICE = np.array([0.92, 0.97, 1.0])


def snow(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: mean and deviation of the flakes, their size, the least of one, streak, whitening.

    The layer of flakes falls once, and once turned by half a circle.
    """
    mean, deviation, zoom, least, radius, sigma, kept = strength.numbers
    layer = mean + deviation * draws.normal((*image.shape[:2], 1))
    layer = zoomed(layer, max(1.0, zoom * strength.scale))
    layer = to_bytes(np.where(layer < least, 0, layer)) / 255
    angle = draws.uniform((), -135, -45).item()
    layer = streak(layer, radius * strength.scale, sigma * strength.scale, angle)
    white = np.maximum(image, grey(image) * 1.5 + 0.5)
    found: Floats = kept * image + (1 - kept) * white + layer + np.rot90(layer, 2)
    return found


def grey(image: Floats) -> Floats:
    """[H,W,1]: the luma of three colours, else the mean of the channels."""
    found: Floats = (
        (image * _LUMA).sum(2, keepdims=True)
        if image.shape[2] == 3
        else image.mean(2, keepdims=True)
    )
    return found


def frost(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the shares of image and ice. The published ice is cut from six photographs."""
    kept, share = strength.numbers
    return kept * image + share * ice(image.shape, draws)


def ice(shape: tuple[int, ...], draws: Draws) -> Floats:
    """[H,W,C]: needles where two fractal surfaces cross, on a cloudy ground; bluish in colour."""
    height, width, channels = shape
    one, other, ground = (plasma(max(height, width), 1.8, draws) for _ in range(3))
    needles = np.clip(1 - 8 * np.abs(one - other), 0, 1)
    cloud = (0.3 + 0.4 * ground + 0.5 * needles)[:height, :width, None]
    found: Floats = np.clip(cloud * (_ICE if channels == 3 else np.ones(channels)), 0, 1)
    return found


def fog(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the density, and how much finer haze is weaker. The largest entry stays the same."""
    density, decay = strength.numbers
    height, width = image.shape[:2]
    haze = plasma(max(height, width), decay, draws)[:height, :width, None]
    largest = image.max()
    found: Floats = (image + density * haze) * largest / (largest + density)
    return found


def plasma(side: int, decay: float, draws: Draws) -> Floats:
    """A fractal surface in [0,1] by the diamond-square method, on a torus.

    Square, of the next power of 2. decay: how much smaller the random part gets as its step halves.
    """
    size = 1 << (side - 1).bit_length()
    surface = np.zeros((size, size))
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        corner = surface[::step, ::step]
        across = corner + np.roll(corner, -1, 1)
        middle = _mean(across + np.roll(across, -1, 0), wobble, draws)
        surface[half::step, half::step] = middle
        surface[::step, half::step] = _mean(middle + np.roll(middle, 1, 0) + across, wobble, draws)
        down = corner + np.roll(corner, -1, 0)
        surface[half::step, ::step] = _mean(middle + np.roll(middle, 1, 1) + down, wobble, draws)
        step, wobble = half, wobble / decay
    surface -= surface.min()
    found: Floats = surface / surface.max()
    return found


def _mean(total: Floats, wobble: float, draws: Draws) -> Floats:
    return total / 4 + wobble * draws.uniform(total.shape, -wobble, wobble)
