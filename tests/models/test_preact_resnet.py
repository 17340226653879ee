"""PreAct-ResNet-18: the forward pass in plain functions, and the sizes of its stages."""

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


def _relu_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    mean, var, scale, shift = (
        w[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)


def _plain(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """He et al. 2016: two blocks a stage, the shortcut taken after the first activation."""
    h = F.conv2d(x, w["conv1.weight"], padding=1)
    for stage in range(1, 5):
        for n in range(2):
            name, step = f"layer{stage}.{n}", 2 if stage > 1 and n == 0 else 1
            a = _relu_norm(h, w, f"{name}.bn1")
            kept = F.conv2d(a, w[f"{name}.shortcut.weight"], stride=step) if step == 2 else h
            b = F.conv2d(a, w[f"{name}.conv1.weight"], stride=step, padding=1)
            h = F.conv2d(_relu_norm(b, w, f"{name}.bn2"), w[f"{name}.conv2.weight"], padding=1)
            h = h + kept
    return _relu_norm(h, w, "bn").mean((2, 3))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 12)])
def test_the_forward_pass_is_the_papers(shape: tuple[int, ...], info: MakeInfo) -> None:
    """With statistics as after training, for grey and oblong images too."""
    torch.manual_seed(0)
    model = create("preact-resnet18", info(shape)).eval()
    with torch.no_grad():
        for name, value in model.body.state_dict().items():
            if "bn" in name and value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape))
        x = torch.rand(2, *shape)
        found = model.features(x)
        expected = _plain((x - 0.4) / 0.25, model.body.state_dict())
    assert found.shape == (2, 512)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_stages_halve_the_image(info: MakeInfo) -> None:
    """32 pixels become 4, and channels double from 64 to 512."""
    model, seen = create("preact-resnet18", info()).eval(), []
    for n in range(1, 5):
        stage = getattr(model.body, f"layer{n}")
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1:]))
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert [tuple(shape) for shape in seen] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]
