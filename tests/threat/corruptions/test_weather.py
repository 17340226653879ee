"""Weather, against what can be said without its random surfaces, and these against loops."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.threat.corruptions.constants import Strength, strength
from robbench.threat.corruptions.draws import Draws
from robbench.threat.corruptions.weather import fog, frost, grey, ice, plasma, snow

IMAGE = np.round(np.random.default_rng(1).random((20, 17, 3)) * 255) / 255


def test_plasma_is_the_diamond_square_of_a_plain_loop():
    """Point by point on a torus, with the same random numbers."""
    draws, size = Draws(4), 8
    m, step, wobble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half = step // 2
        corners = [(y, x) for y in range(0, size, step) for x in range(0, size, step)]
        for down, right, neighbours in (
            (half, half, ((-half, -half), (-half, half), (half, -half), (half, half))),
            (0, half, ((-half, 0), (half, 0), (0, -half), (0, half))),
            (half, 0, ((-half, 0), (half, 0), (0, -half), (0, half))),
        ):
            n = size // step
            random = draws.uniform((n, n), -wobble, wobble).ravel()
            for (y, x), value in zip(corners, random, strict=True):
                at = y + down, x + right
                near = [m[(at[0] + a) % size, (at[1] + b) % size] for a, b in neighbours]
                m[at] = sum(near) / 4 + wobble * value
        step, wobble = half, wobble / 1.7
    assert np.allclose(plasma(7, 1.7, Draws(4)), (m - m.min()) / (m.max() - m.min()))


def test_fog_mixes_a_haze_with_the_image_and_keeps_the_largest_entry():
    """A haze h in [0,1] of density c: (x + c h) m / (m + c)."""
    found = fog(IMAGE, Strength((1.5, 2), 1), Draws(5))
    largest = IMAGE.max()
    haze = (found * (largest + 1.5) / largest - IMAGE) / 1.5
    assert np.allclose(haze, haze[..., :1])
    assert -1e-9 < haze.min() < haze.max() < 1 + 1e-9
    assert np.allclose(haze[..., 0], plasma(20, 2, Draws(5))[:20, :17])
    assert not fog(0 * IMAGE, Strength((1.5, 2), 1), Draws(5)).any()


def test_frost_adds_one_layer_of_ice_to_a_darker_image():
    found = frost(IMAGE, Strength((0.8, 0.6), 1), Draws(6))
    layer = (found - 0.8 * IMAGE) / 0.6
    assert np.allclose(layer, ice(IMAGE.shape, Draws(6)))
    assert 0.2 < layer.min() < layer.max() <= 1
    assert layer.std() > 0.05
    assert (layer[..., 2] >= layer[..., 0]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_snow_whitens_and_only_adds(channels: int):
    """Without flakes it is the whitened image; flakes are alike turned by half a circle."""
    image = IMAGE[..., :1].repeat(channels, 2)
    numbers = strength("snow", 3, 20, 17).numbers
    white = numbers[6] * image + (1 - numbers[6]) * np.maximum(image, 1.5 * image + 0.5)
    none = Strength((*numbers[:3], 99.0, *numbers[4:]), 1)
    assert np.allclose(snow(image, none, Draws(7)), white)
    flakes = snow(image, Strength(numbers, 1), Draws(7)) - white
    assert flakes.min() > -1e-9
    assert flakes.max() > 0.1
    assert np.allclose(flakes, np.rot90(flakes, 2))


def test_grey_weighs_colours_as_rec_601_does():
    wanted = 0.299 * IMAGE[..., 0] + 0.587 * IMAGE[..., 1] + 0.114 * IMAGE[..., 2]
    assert np.allclose(grey(IMAGE)[..., 0], wanted)
    assert np.allclose(grey(IMAGE[..., :2])[..., 0], IMAGE[..., :2].mean(2))
