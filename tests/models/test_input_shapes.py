"""The shapes of images that models take."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

from robbench.models.input_shapes import shapes_taken, stated_shape, takes


def test_one_shape_only() -> None:
    """Linear layers behind a convolution, or in front, take images of one size."""
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    vector = nn.Linear(13, 10)
    assert shapes_taken(convolution) == [(3, 32, 32)]
    assert shapes_taken(flat) == [(1, 8, 8), (64,)]
    assert shapes_taken(vector) == [(13,)]


def test_any_size() -> None:
    """Of many the likeliest first, and channels as the first convolution reads."""
    pooled = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    assert shapes_taken(pooled, most=2) == [(1, 224, 224), (1, 32, 32)]
    assert shapes_taken(pooled, first=[(1, 5, 7)], most=1) == [(1, 5, 7)]


def test_none_is_taken() -> None:
    """Whatever the model raises, and answers that are no row for each image."""

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[1] == 3:
                raise KeyError("never")
            return x

    assert shapes_taken(Odd()) == []
    assert not takes(nn.Identity(), (3, 4, 4))


def test_what_a_model_states() -> None:
    """Configurations of timm and transformers, and none."""
    timm = nn.Sequential(nn.Flatten())
    timm.pretrained_cfg = {"input_size": (3, 240, 240)}
    transformers = nn.Sequential(nn.Flatten())
    transformers.config = types.SimpleNamespace(image_size=384, num_channels=3)
    assert stated_shape(nn.Sequential(timm)) == (3, 240, 240)
    assert stated_shape(transformers) == (3, 384, 384)
    assert stated_shape(nn.Sequential(nn.Flatten())) is None


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    """Modes and running statistics."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(2))
    model(torch.rand(2, 3, 32, 32))
    model.train(training)
    before = model[0].running_mean.clone()
    assert shapes_taken(model, most=1) == [(3, 32, 32)]
    assert model.training is training
    assert torch.equal(model[0].running_mean, before)
