"""The CIFAR form of ResNet-18 takes any small image; its forward pass is that of published code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from robbench.models.create import create

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 12)])
def test_features_are_the_average_of_the_last_stage(shape, info):
    torch.manual_seed(0)
    model, seen = create("resnet18", info(shape)).eval(), []
    model.body.layer4.register_forward_hook(lambda module, x, y: seen.append(y))
    with torch.no_grad():
        found = model.features(torch.rand(2, *shape))
    assert found.shape == (2, 512)
    torch.testing.assert_close(found, seen[0].mean((2, 3)))


def test_the_number_of_weights_is_the_closed_form(info):
    """Two 3x3 convolutions and norms a block, a 1x1 shortcut with a norm where channels change."""
    total, before = 3 * 64 * 9 + 2 * 64, 64
    for planes in (64, 128, 256, 512):
        for into in (before, planes):
            total += 9 * into * planes + 9 * planes * planes + 4 * planes
            total += into * planes + 2 * planes if into != planes else 0
        before = planes
    model = create("resnet18", info())
    assert sum(weight.numel() for weight in model.parameters()) == total + 512 * 10 + 10


def test_inputs_are_normalised_by_the_statistics_of_the_data(info):
    torch.manual_seed(0)
    model = create("resnet18", info((3, 8, 8))).eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        h = F.conv2d((x - 0.4) / 0.25, model.body.conv1.weight, padding=1)
        seen: list[torch.Tensor] = []
        model.body.conv1.register_forward_hook(lambda module, x, y: seen.append(y))
        model(x)
    torch.testing.assert_close(seen[0], h)
