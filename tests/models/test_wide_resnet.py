"""Wide residual networks: the paper's sizes, and the forward pass in plain functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.data.base import DataInfo
from robbench.models.create import create

pytestmark = pytest.mark.usefixtures("one_thread")

MakeInfo = Callable[..., DataInfo]


def _norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    parts = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(w[f"{name}.{part}"] for part in parts))


def _plain(x: Tensor, w: dict[str, Tensor], blocks: int) -> Tensor:
    """Zagoruyko and Komodakis 2016, table 1: three groups of B(3,3), the last two with stride 2."""
    h = F.conv2d(x, w["conv1.weight"], padding=1)
    for group, stride in ((1, 1), (2, 2), (3, 2)):
        for n in range(blocks):
            name, step = f"block{group}.{n}", stride if n == 0 else 1
            a = F.relu(_norm(h, w, f"{name}.bn1"))
            shortcut = w.get(f"{name}.shortcut.weight")
            kept = h if shortcut is None else F.conv2d(a, shortcut, stride=step)
            b = F.conv2d(a, w[f"{name}.conv1.weight"], stride=step, padding=1)
            b = F.relu(_norm(b, w, f"{name}.bn2"))
            h = F.conv2d(b, w[f"{name}.conv2.weight"], padding=1) + kept
    return F.relu(_norm(h, w, "bn1")).mean((2, 3))


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (10, 2), (16, 3)])
def test_the_forward_pass_is_the_papers(depth: int, width: int, info: MakeInfo) -> None:
    """With statistics as after training; dropout does nothing in evaluation mode."""
    torch.manual_seed(0)
    model = create(f"wide-resnet:depth={depth},width={width},dropout=0.3", info((3, 16, 16))).eval()
    with torch.no_grad():
        for name, value in model.body.state_dict().items():
            if "bn" in name and value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape))
        x = torch.rand(3, 3, 16, 16)
        found, weights = model.features(x), model.body.state_dict()
        expected = _plain((x - 0.4) / 0.25, weights, (depth - 4) // 6)
    assert found.shape == (3, 64 * width)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 2), (22, 4)])
def test_the_number_of_weights_is_the_closed_form(depth: int, width: int, info: MakeInfo) -> None:
    """Two 3x3 convolutions and two batch-norms a block, a 1x1 shortcut where channels change."""
    n, before, total = (depth - 4) // 6, 16, 3 * 16 * 9
    for wide in (16 * width, 32 * width, 64 * width):
        for block in range(n):
            into = before if block == 0 else wide
            total += 2 * into + 9 * into * wide + 2 * wide + 9 * wide * wide
            total += into * wide if into != wide else 0
        before = wide
    total += 2 * before + before * 10 + 10
    model = create(f"wide-resnet:depth={depth},width={width}", info())
    assert sum(weight.numel() for weight in model.parameters()) == total


def test_convolutions_start_from_hes_normal_distribution(info: MakeInfo) -> None:
    """Variance 2 / (9 C_out), mean 0, on a layer of many weights."""
    torch.manual_seed(0)
    weight = create("wide-resnet:depth=10,width=4", info()).body.block3[0].conv2.weight.detach()
    expected = (2 / (9 * weight.shape[0])) ** 0.5
    assert float(weight.std()) == pytest.approx(expected, rel=0.01)
    assert abs(float(weight.mean())) < 4 * expected / weight.numel() ** 0.5
