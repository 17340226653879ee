"""AutoAttack's example network, against its original."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import create

MakeInfo = Callable[..., DataInfo]


def _reference_resnet() -> nn.Module:
    found = importlib.util.find_spec("pyautoattack")
    assert found is not None
    assert found.origin is not None
    examples = Path(found.origin).parent / "examples"
    spec = importlib.util.spec_from_file_location(
        "pyautoattack_examples_resnet", examples / "resnet.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.ResNet18()
    model.load_state_dict(
        torch.load(examples / "model_test.pt", weights_only=True, map_location="cpu")
    )
    return model.eval()


def test_pyautoattack_resnet_equals_its_original(info: MakeInfo) -> None:
    """Our ResNet-18 equals pyautoattack's examples/resnet.py bit for bit, in eval mode."""
    model, reference = create("pyautoattack-resnet18", info()), _reference_resnet()
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(x), reference(x))
    assert not model.training
    assert MODELS.build("pyautoattack-resnet18").classes_of()[7] == "horse"


@pytest.mark.parametrize(
    ("shape", "classes"), [((3, 32, 32), 2), ((1, 28, 28), 10), ((3, 64, 64), 10)]
)
def test_pyautoattack_resnet_is_for_cifar10_only(
    shape: tuple[int, ...], classes: int, info: MakeInfo
) -> None:
    """Another shape or number of classes is a UserError that says what the model is for."""
    with pytest.raises(UserError, match="is for CIFAR-10"):
        create("pyautoattack-resnet18", info(shape, classes))
