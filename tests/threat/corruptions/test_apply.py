"""What holds for every corruption."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robbench.core.corruptions import CORRUPTIONS
from robbench.threat.corruptions.apply import corrupt, corrupted

SHAPES = ((1, 8, 8), (3, 32, 32), (3, 13, 40), (2, 9, 9))
GROWS = {"glass_blur", "frost", "elastic_transform", "snow", "zoom_blur"}
"""Not from each severity to the next: their published numbers trade one strength for another."""


def _images(n: int, shape: tuple[int, ...]) -> torch.Tensor:
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_stay_images_whatever_the_batch(name: str, shape: tuple[int, ...]):
    """In whole 255ths of [0,1], another image, bit-equal alone and among others in any order."""
    x, keys = _images(4, shape), torch.tensor([11, -5, 2**62, 0])
    found = corrupted(x, name, 3, keys)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose((found * 255).round(), found * 255, atol=1e-4)
    assert (found != x).any()
    order = [2, 0, 3, 1]
    assert torch.equal(corrupted(x[order], name, 3, keys[order]), found[order])
    assert torch.equal(corrupted(x[1:2], name, 3, keys[1:2]), found[1:2])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_severity_changes_more_than_a_lower_one(name: str):
    """In the mean over some images; of a few corruptions only the published numbers say it."""
    x = _images(12, (3, 32, 32)).numpy().astype(np.float64)
    away = [
        np.mean([np.abs(corrupt(one, name, s, i) - one).mean() for i, one in enumerate(x)])
        for s in range(1, 6)
    ]
    assert all(a > 0.001 for a in away)
    if name not in GROWS:
        assert away == sorted(away)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_the_size_of_imagenet_are_changed_by_its_numbers(name: str):
    """Stronger than the numbers for small images, which the same image cut down gets."""
    x = _images(1, (3, 224, 224))[0].numpy().astype(np.float64)
    large = np.abs(corrupt(x, name, 1, 3) - x).mean()
    assert 0.002 < large < 0.5


@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_flat_images_are_no_trouble(name: str, value: float):
    found = corrupt(np.full((3, 16, 16), value), name, 5, 1)
    assert np.isfinite(found).all()


def test_the_key_decides_what_is_random():
    x = _images(1, (1, 16, 16))
    one, same, other = (corrupted(x, "gaussian_noise", 2, torch.tensor([key])) for key in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
