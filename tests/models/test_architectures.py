"""The built-in architectures: published sizes, parity with reference code, any image shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.core.registry import explain_options
from robbench.data.base import DataInfo
from robbench.models.create import create
from robbench.models.heads import ScoreHead, build_head

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


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 13), (1, 28, 28), (3, 33, 40), (3, 64, 64)])
def test_small_cnn_takes_any_size(shape: tuple[int, ...], info: MakeInfo) -> None:
    """The small CNN takes odd, oblong and large images; its gradient reaches every pixel."""
    model = create("small-cnn:width=8", info(shape, 3))
    x = torch.rand(2, *shape, requires_grad=True)
    model(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.abs().sum((0, 1)) > 0).all())


def test_linear_classifier_is_logistic_regression(info: MakeInfo) -> None:
    """mlp:depth=0 with scikit-learn's weights gives its decision values on normalised pixels."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 2, 3, 3, generator=generator), torch.arange(60) % 3
    model = create("mlp:depth=0", info((2, 3, 3), 3))
    pixels = (x.flatten(1) - 0.4) / 0.25
    reference = LogisticRegression().fit(pixels, y)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(reference.coef_))
        model.head.bias.copy_(torch.from_numpy(reference.intercept_))
        expected = torch.from_numpy(reference.decision_function(pixels)).float()
        assert torch.allclose(model(x), expected, atol=1e-4)


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


def test_score_head_has_one_direction_and_a_threshold(info: MakeInfo) -> None:
    """Logits are (-(s+b)/2, (s+b)/2) with s = w.features; the bias is a buffer, not a parameter."""
    model = create("mlp:width=7", info((1, 8, 8), 2)).with_head("score")
    head, x = model.head, torch.rand(5, 1, 8, 8)
    assert isinstance(head, ScoreHead)
    assert model.head_spec == "score"
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert head.bias.shape == (1,)
    head.bias.fill_(0.3)
    s = head.score(model.features(x))
    assert torch.allclose(s, torch.stack([f.dot(head.weight[0]) for f in model.features(x)]))
    assert torch.allclose(model(x), torch.stack([-(s + 0.3) / 2, (s + 0.3) / 2], 1))


def test_heads_that_do_not_exist_or_fit() -> None:
    """The one-score head refuses more than two classes; an unknown head and options are refused."""
    with pytest.raises(UserError, match="two classes, the data have 10"):
        build_head("score", 4, 10)
    with pytest.raises(UserError, match="did you mean linear"):
        build_head("liner", 4, 10)
    with pytest.raises(UserError, match="no options"):
        build_head("linear:bias=false", 4, 10)
