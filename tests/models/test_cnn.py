"""The small convolutional network: images of any size, and pixels that all count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robbench.data.base import DataInfo
from robbench.models.create import create

MakeInfo = Callable[..., DataInfo]


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 13), (1, 28, 28), (3, 33, 40), (3, 64, 64)])
def test_small_cnn_takes_any_size(shape: tuple[int, ...], info: MakeInfo) -> None:
    """The small CNN takes odd, oblong and large images; its gradient reaches every pixel."""
    model = create("small-cnn:width=8", info(shape, 3))
    x = torch.rand(16, *shape, requires_grad=True)  # some dead units leave others
    model(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum((0, 1)) > 0).all())
