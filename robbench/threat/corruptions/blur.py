"""Corruptions that are blurs. Images [H,W,C] in [0,1]."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from robbench.threat.corruptions.constants import Strength, magnifications
from robbench.threat.corruptions.draws import Draws, Floats


def defocus_blur(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the radius of the disk, and the deviation that smooths its edge."""
    radius, smooth = strength.numbers
    kernel = disk(radius * strength.scale, smooth)
    found: Floats = ndimage.correlate(image, kernel[:, :, None], mode="mirror")
    return found


def disk(radius: float, smooth: float) -> Floats:
    """A disk of sum 1, smoothed by a Gaussian cut to 3x3 pixels (5x5 from radius 8 on)."""
    reach = 8 if radius <= 8 else math.ceil(radius)
    along = np.arange(-reach, reach + 1)
    kernel = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float64)
    kernel /= kernel.sum()
    taps = np.exp(-((np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)) ** 2) / (2 * smooth**2))
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, taps / taps.sum(), axis=axis, mode="mirror")
    return kernel


def glass_blur(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: deviation of both blurs, how far pixels move, how often.

    From the last pixel to the first, each takes the colours of a neighbour at random. The released
    code was to swap the two, but copies; so does this.
    """
    sigma, reach, times = strength.numbers
    sigma, step = sigma * strength.scale, max(1, round(reach * strength.scale))
    height, width = image.shape[:2]
    blurred = to_bytes(gaussian(image, sigma)) / 255
    source = list(range(height * width))
    rows, columns = range(height - step, step, -1), range(width - step, step, -1)
    for _ in range(int(times)):
        moves = draws.integers(-step, step, (2, max(len(rows), 0), max(len(columns), 0)))
        offsets = (moves[0] * width + moves[1]).tolist()
        for row, offset in zip(rows, offsets, strict=True):
            for column, away in zip(columns, offset, strict=True):
                place = row * width + column
                source[place] = source[place + away]
    moved = blurred.reshape(height * width, -1)[source].reshape(image.shape)
    return gaussian(moved, sigma)


def motion_blur(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: radius and deviation of the streak, which goes up to 45 degrees up or down."""
    radius, sigma = (length * strength.scale for length in strength.numbers)
    return streak(image, radius, sigma, draws.uniform((), -45, 45).item())


def streak(image: Floats, radius: float, sigma: float, angle: float) -> Floats:
    """The motion blur of ImageMagick: half a Gaussian in one direction, at whole pixels.

    angle: in degrees. Beyond its edges the image goes on with its edge pixels. In whole 255ths.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turn = math.radians(angle)
    right, down = (np.ceil(steps * along - 0.5) for along in (math.cos(turn), math.sin(turn)))
    height, width = image.shape[:2]
    found = np.zeros_like(image)
    for weight, x, y in zip(weights, right.astype(int), down.astype(int), strict=True):
        rows = np.clip(np.arange(height) + y, 0, height - 1)
        columns = np.clip(np.arange(width) + x, 0, width - 1)
        found += weight * image[rows[:, None], columns]
    return np.round(found * 255) / 255


def zoom_blur(image: Floats, strength: Strength, draws: Draws) -> Floats:
    """Numbers: the end and the step of the magnifications."""
    zooms = magnifications(*strength.numbers)
    found = image + sum(zoomed(image, zoom) for zoom in zooms)
    mean: Floats = found / (len(zooms) + 1)
    return mean


def zoomed(image: Floats, zoom: float) -> Floats:
    """The middle of an image, magnified linearly to the whole."""
    (height, width), whole = image.shape[:2], image
    rows, columns = math.ceil(height / zoom), math.ceil(width / zoom)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = whole[top : top + rows, left : left + columns]
    large: Floats = ndimage.zoom(middle, (zoom, zoom, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def gaussian(image: Floats, sigma: float) -> Floats:
    """A Gaussian blur cut at 4 deviations; beyond its edges the image goes on with them."""
    found: Floats = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4)
    return found


def to_bytes(image: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Clipped and cut to 8 bits, as the published sets are; what rounding took is given back."""
    return np.floor(np.clip(image, 0, 1) * 255 + 1e-6).astype(np.uint8)
