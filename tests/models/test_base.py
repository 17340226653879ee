"""The built-in architectures: published sizes, parity with reference code, any image shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.core.options import explain_options
from robbench.data.base import DataInfo
from robbench.models.create import create

MakeInfo = Callable[..., DataInfo]


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_published_parameter_counts(info: MakeInfo) -> None:
    """WRN-28-10 has 36.5 million parameters (paper's table), PreAct-ResNet-18 11.17 million."""
    assert round(_parameters(create("wide-resnet", info())) / 1e6, 1) == 36.5
    assert round(_parameters(create("preact-resnet18", info())) / 1e6, 2) == 11.17


@pytest.mark.parametrize(
    "spec", ["mlp", "mlp:depth=0", "small-cnn", "preact-resnet18", "wide-resnet:depth=10,width=1"]
)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_logits_are_the_head_of_the_features(
    spec: str, shape: tuple[int, ...], info: MakeInfo
) -> None:
    """output() gives logits [B,K] equal to forward(), and features [B,D] that map to them."""
    model = create(spec, info(shape)).eval()
    x = torch.rand(4, *shape)
    logits, features = model.output(x)
    assert features.shape == (4, model.features_dim)
    assert logits.shape == (4, 10)
    assert torch.equal(model(x), logits)
    assert torch.equal(model.head(features), logits)


def test_vectors_are_data_too(info: MakeInfo) -> None:
    """An MLP takes (D,)-shaped data; a convolutional model says that it needs images."""
    assert create("mlp", info((5,), 3))(torch.rand(2, 5)).shape == (2, 3)
    for spec in ("small-cnn", "preact-resnet18", "wide-resnet:depth=10,width=1"):
        with pytest.raises(UserError, match="needs images"):
            create(spec, info((5,), 3))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("wide-resnet:depth=30", "use 28 or 34"),
        ("wide-resnet:depth=4", "depth"),
        ("wide-resnet:dropout=1", "dropout"),
        ("mlp:width=0", "width"),
        ("mlp:depht=3", "did you mean depth"),
        ("small-cmn", "did you mean small-cnn"),
    ],
)
def test_wrong_specs(spec: str, words: str, info: MakeInfo) -> None:
    """Wrong names, options and values are UserErrors that name them."""
    with pytest.raises(UserError, match=words):
        create(spec, info())


def test_every_model_is_documented() -> None:
    """Each registered model has a docstring and each of its options a description."""
    for name in MODELS.entries:
        found = MODELS.find(name)
        assert found.__doc__
        assert all(option.help for option in explain_options(found))
