"""Processing, against the standard library, torchvision and plain loops."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.digital import (
    brightness,
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from robbench.threat.corruptions.draws import Draws

IMAGE = np.round(np.random.default_rng(2).random((12, 18, 3)) * 255) / 255
NONE = Draws(0)


def test_brightness_raises_the_value_of_hsv():
    """As `colorsys` has it; black becomes grey."""
    image = IMAGE.copy()
    image[0, 0] = 0
    found = brightness(image, Strength((0.3,), 1), NONE)
    for at in np.ndindex(12, 18):
        h, s, v = colorsys.rgb_to_hsv(*image[at])
        assert np.allclose(found[at], colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1)))
    one = brightness(image[..., :1], Strength((0.3,), 1), NONE)
    assert np.allclose(one, np.minimum(image[..., :1] + 0.3, 1))


def test_contrast_keeps_means_and_shrinks_deviations():
    found = contrast(IMAGE, Strength((0.4,), 1), NONE)
    assert np.allclose(found.mean((0, 1)), IMAGE.mean((0, 1)))
    assert np.allclose(found.std((0, 1)), 0.4 * IMAGE.std((0, 1)))


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("quality", [7, 25, 80])
def test_jpeg_is_that_of_torchvision(quality: int):
    """Another decoder: of colours and of grey images."""
    for channels in (1, 3):
        image = torch.from_numpy(np.round(IMAGE[..., :channels] * 255).astype(np.uint8))
        wanted = functional.jpeg(image.permute(2, 0, 1), quality).permute(1, 2, 0).numpy()
        found = jpeg_compression(IMAGE[..., :channels], Strength((quality,), 1), NONE) * 255
        assert np.abs(found - wanted).max() <= 3
        assert np.abs(found - wanted).mean() < 0.5


def test_jpeg_takes_other_channels_one_by_one():
    found = jpeg_compression(IMAGE[..., :2], Strength((25,), 1), NONE)
    for c in range(2):
        one = jpeg_compression(IMAGE[..., c : c + 1], Strength((25,), 1), NONE)
        assert np.array_equal(found[..., c : c + 1], one)


def test_pixelate_takes_means_of_whole_blocks():
    """Of a half, of 2x2 pixels; Pillow rounds along one axis, then along the other."""
    found = pixelate(IMAGE, Strength((0.5,), 1), NONE)
    blocks = IMAGE.reshape(6, 2, 9, 2, 3).mean((1, 3))
    assert np.allclose(found, blocks.repeat(2, 0).repeat(2, 1), atol=1.01 / 255)


def test_elastic_without_strength_is_the_image():
    assert np.allclose(elastic_transform(IMAGE, Strength((0, 0, 0), 1), Draws(3)), IMAGE)


def test_the_affine_part_takes_a_plane_to_a_plane():
    """Inside, where nothing is mirrored, a linear image stays linear under linear sampling."""
    rows, columns = np.mgrid[:40, :40]
    plane = (rows + 2.0 * columns)[..., None] / 200
    found = elastic_transform(plane, Strength((0, 0, 0.03), 1), Draws(4))[8:-8, 8:-8, 0]
    assert np.abs(np.diff(found, 2, axis=0)).max() < 1e-9
    assert np.abs(np.diff(found, 2, axis=1)).max() < 1e-9
    assert not np.allclose(found, plane[8:-8, 8:-8, 0])


def test_three_points_go_where_they_are_sent():
    """A spot at one of the points of the affine map is found where its random move leads."""
    spot = np.zeros((60, 60, 1))
    point = np.array([30 + 20, 30 + 20])  # the middle and a third of the side
    rows, columns = np.mgrid[:60, :60]
    spot[..., 0] = np.exp(-((rows - point[0]) ** 2 + (columns - point[1]) ** 2) / 8)
    move = Draws(5).uniform((3, 2), -0.08 * 60, 0.08 * 60)[0]
    found = elastic_transform(spot, Strength((0, 0, 0.08), 1), Draws(5))[..., 0]
    at = np.array([(rows * found).sum(), (columns * found).sum()]) / found.sum()
    assert np.allclose(at, point + move, atol=0.5)


def test_the_displacement_is_smooth_and_of_its_size():
    """A ramp shows it: no pixel moves farther than it may, and neighbours move alike."""
    ramp = (np.mgrid[:40, :40][1] / 40.0)[..., None]
    found = elastic_transform(ramp, Strength((0.1, 0.05, 0), 1), Draws(6))
    moved = (found - ramp)[:, 8:-8, 0] * 40
    assert 0.02 < np.abs(moved).max() < 4
    assert np.abs(np.diff(moved, axis=0)).max() < np.abs(moved).max()
