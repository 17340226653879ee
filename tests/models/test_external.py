"""A foreign module as a classifier: its own logits, and what its last linear layer reads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import check_logits, create
from robbench.models.external import External, count_classes

MakeInfo = Callable[..., DataInfo]


def test_a_factory_is_wrapped_with_features(name: str, small: DataInfo) -> None:
    """Options reach the factory with their types; features are its last nn.Linear's input."""
    model = create(f"{name}:Net:width=9,deep=true", small)
    x = torch.rand(5, 3, 2, 2)
    logits, features = model.output(x)
    net = model.body
    assert model.features_dim == 9
    assert torch.equal(features, net.stem(x))
    assert torch.equal(logits, net(x))
    assert torch.equal(model(x), logits)
    assert model.head is net.fc
    assert set(model.state_dict()) == {f"body.{key}" for key in net.state_dict()}
    assert create(f"{name}:ready", small).features_dim == 6


def test_a_model_that_has_no_answer_for_an_even_image(name: str, small: DataInfo) -> None:
    """Standardised image by image, a flat one is NaN: no reason to refuse the model."""
    model = create(f"{name}:Standardises", small)
    assert not torch.isfinite(model(torch.full((1, 3, 2, 2), 0.5))).any()
    assert torch.isfinite(model(torch.rand(2, 3, 2, 2))).all()


def test_a_copy_has_its_own_head(name: str, small: DataInfo) -> None:
    """A deep copy (as EMA makes) takes features and head from its own weights."""
    torch.manual_seed(0)  # features that are not all zero
    model = create(f"{name}:Net", small)
    twin = copy.deepcopy(model)
    assert twin.head is twin.body.fc
    assert twin.head is not model.head
    with torch.no_grad():
        twin.head.weight.zero_()
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(twin.output(x).features, model.output(x).features)
    assert not torch.equal(twin(x), model(x))


def test_the_head_of_a_private_model_can_be_replaced(name: str, info: MakeInfo) -> None:
    """with_head swaps the last nn.Linear inside the module."""
    model = create(f"{name}:Net:classes=2", info((3, 2, 2), 2)).with_head("score")
    x = torch.rand(4, 3, 2, 2)
    logits, features = model.output(x)
    assert model.head is model.body.fc
    assert model.head_spec == "score"
    assert torch.allclose(logits[:, 1] - logits[:, 0], model.head.score(features), atol=1e-6)


def test_without_a_linear_layer_there_are_logits_but_no_features(
    name: str, small: DataInfo
) -> None:
    """Without an nn.Linear in use a model has logits and no features; asking is a UserError."""
    x = torch.rand(2, 3, 2, 2)
    for factory, words in (("without_linear", "no nn.Linear"), ("unused", "takes no part")):
        model = create(f"{name}:{factory}", small)
        assert model.output(x).logits.shape == (2, 3)
        assert model.output(x).features.shape == (2, 0)
        for ask in (
            lambda model=model: model.features(x),
            lambda model=model: model.with_head("linear"),
        ):
            with pytest.raises(UserError, match=words):
                ask()


@pytest.mark.parametrize(("outputs", "classes"), [(1, 2), (2, 2), (7, 7)])
def test_counted_classes(outputs: int, classes: int) -> None:
    """As many as outputs, two of one; the module's mode stays."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(12, outputs))
    assert count_classes(net, torch.rand(2, 3, 2, 2)) == classes
    assert net.training
    with pytest.raises(UserError, match="cannot process images"):
        count_classes(net, torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda z: (z, z), "it returns tuple; it should return one tensor of logits"),
        (
            lambda z: z[:, :, None],
            r"it returns shape \(2, 12, 1\) for 2 images; should be \(2, K\)",
        ),
    ],
)
def test_no_classes_are_counted_in_what_is_no_logits(answer: Any, text: str) -> None:
    """What it returns is said, not a number of classes."""

    class Answers(torch.nn.Flatten):
        def forward(self, x: torch.Tensor) -> Any:
            return answer(super().forward(x))

    with pytest.raises(UserError, match=text):
        count_classes(Answers(), torch.rand(2, 3, 2, 2))


def test_what_is_no_tensor_is_refused_as_such() -> None:
    """A text, where logits should be: that is said, not that a text has no gradient."""

    class Says(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> str:
            return "seven"

    model, x = External(Says(), 2), torch.rand(2, 3, 2, 2)
    model.fit_interface(x)
    with pytest.raises(UserError, match="it returns str"):
        check_logits(model, x, 2)
