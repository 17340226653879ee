"""Blurs, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from robbench.threat.corruptions.blur import (
    defocus_blur,
    disk,
    gaussian,
    glass_blur,
    streak,
    to_bytes,
    zoom_blur,
    zoomed,
)
from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.draws import Draws

IMAGE = np.round(np.random.default_rng(0).random((13, 11, 3)) * 255) / 255


def _mirrored(i: int, n: int) -> int:
    """The place of index i in a row of n that is mirrored about its end pixels."""
    period = 2 * (n - 1)
    i %= period
    return i if i < n else period - i


@pytest.mark.parametrize(("radius", "smooth"), [(0.3, 0.4), (1.5, 0.1), (3, 0.1), (10, 0.5)])
def test_defocus_is_a_mean_over_a_smooth_disk(radius: float, smooth: float):
    """Every sum written out, and the smoothing of the disk by a two-dimensional Gaussian."""
    reach, cut = (8, 1) if radius <= 8 else (int(radius), 2)
    n = 2 * reach + 1
    flat = np.zeros((n, n))
    for y in range(n):
        for x in range(n):
            flat[y, x] = (y - reach) ** 2 + (x - reach) ** 2 <= radius**2
    flat /= flat.sum()
    near = range(-cut, cut + 1)
    bell = {(a, b): math.exp(-(a * a + b * b) / (2 * smooth**2)) for a in near for b in near}
    kernel = np.zeros((n, n))
    for y in range(n):
        for x in range(n):
            for (a, b), weight in bell.items():
                kernel[y, x] += weight * flat[_mirrored(y + a, n), _mirrored(x + b, n)]
    kernel /= sum(bell.values())
    assert np.allclose(disk(radius, smooth), kernel)
    height, width = IMAGE.shape[:2]
    wanted = np.zeros_like(IMAGE)
    for y in range(height):
        for x in range(width):
            for a, b in zip(*kernel.nonzero(), strict=True):
                at = _mirrored(y + a - reach, height), _mirrored(x + b - reach, width)
                wanted[y, x] += kernel[a, b] * IMAGE[at]
    assert np.allclose(defocus_blur(IMAGE, Strength((radius, smooth), 1), Draws(0)), wanted)


def test_glass_moves_pixels_no_farther_than_it_says():
    """With blurs too small to see: each pixel is one of the image, from nearby; the rim stays."""
    places = np.stack([*np.mgrid[:13, :11], np.zeros((13, 11))], 2) / 255
    found = glass_blur(places, Strength((0.01, 2, 1), 1), Draws(3)) * 255
    away = np.abs(np.round(found)[..., :2] - np.stack(np.mgrid[:13, :11], 2))
    assert 0 < away.max() <= 2 * (13 + 11)
    assert not away[:3].any()
    assert not away[:, :3].any()
    assert (away.sum(2) > 0).mean() > 0.3


def test_glass_copies_one_pixel_after_the_other():
    """The loop of the definition, on pixels themselves, with the same moves."""
    found = glass_blur(IMAGE, Strength((0.4, 1, 2), 1), Draws(9))
    pixels, draws = np.floor(gaussian(IMAGE, 0.4) * 255 + 1e-6), Draws(9)
    for _ in range(2):
        moves = draws.integers(-1, 1, (2, 11, 9))
        for a, row in enumerate(range(12, 1, -1)):
            for b, column in enumerate(range(10, 1, -1)):
                down, right = moves[:, a, b]
                pixels[row, column] = pixels[row + down, column + right]
    assert np.allclose(found, gaussian(pixels / 255, 0.4))


@pytest.mark.parametrize("angle", [-90.0, -33.0, 0.0, 45.0])
def test_a_streak_is_half_a_gaussian_in_one_direction(angle: float):
    """Each pixel as a sum along a line, edge pixels repeated."""
    found = streak(IMAGE, 3, 1.5, angle)
    weights = [math.exp(-(i**2) / (2 * 1.5**2)) for i in range(7)]
    turn = math.radians(angle)
    for y, x in ((0, 0), (6, 5), (12, 10), (2, 9)):
        wanted = np.zeros(3)
        for i, weight in enumerate(weights):
            row = min(max(y + math.ceil(i * math.sin(turn) - 0.5), 0), 12)
            column = min(max(x + math.ceil(i * math.cos(turn) - 0.5), 0), 10)
            wanted += weight / sum(weights) * IMAGE[row, column]
        assert np.allclose(found[y, x], wanted, atol=0.51 / 255)


@pytest.mark.parametrize("zoom", [1.0, 1.25, 2.0])
def test_zoomed_is_linear_between_the_pixels_of_the_middle(zoom: float):
    """Corners on corners: `numpy.interp` along one axis, then the other."""
    rows, columns = math.ceil(13 / zoom), math.ceil(11 / zoom)
    top, left = (13 - rows) // 2, (11 - columns) // 2
    middle = IMAGE[top : top + rows, left : left + columns]
    large = round(rows * zoom), round(columns * zoom)
    for axis, size in enumerate(large):
        at = np.linspace(0, middle.shape[axis] - 1, size)
        middle = np.apply_along_axis(
            lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, middle
        )
    top, left = (large[0] - 13) // 2, (large[1] - 11) // 2
    assert np.allclose(zoomed(IMAGE, zoom), middle[top : top + 13, left : left + 11])


def test_zoom_blur_is_the_mean_of_the_image_and_its_magnifications():
    wanted = (2 * IMAGE + zoomed(IMAGE, 1.5)) / 3
    assert np.allclose(zoom_blur(IMAGE, Strength((2.0, 0.5), 1), Draws(0)), wanted)


def test_gaussian_blur_is_that_of_a_plain_sum():
    """Cut at four deviations, edge pixels repeated."""
    reach = range(-4, 5)
    weights = np.array([math.exp(-(i**2) / 2) for i in reach])
    padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)), mode="edge")
    wanted = sum(
        wa * wb * padded[a : a + 13, b : b + 11]
        for a, wa in enumerate(weights / weights.sum())
        for b, wb in enumerate(weights / weights.sum())
    )
    assert np.allclose(gaussian(IMAGE, 1.0), wanted)


def test_bytes_are_those_of_pillow_for_whole_levels_and_cut_between():
    levels = np.arange(256).reshape(16, 16)
    assert np.array_equal(to_bytes(levels / 255), np.asarray(Image.fromarray(levels.astype("u1"))))
    assert to_bytes(np.array([-1.0, 0.9999 / 255, 1.5])).tolist() == [0, 0, 255]
