"""Private models and the check that a model returns logits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import check_logits, create

MakeInfo = Callable[..., DataInfo]

SOURCE = """
import torch
from dataclasses import dataclass
from torch import nn
from robbench.models.base import Architecture, Classifier

class Net(nn.Module):
    def __init__(self, width=6, deep=False, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU())
        self.fc = nn.Linear(width, classes)
    def forward(self, x):
        return self.fc(self.stem(x))

def factory(**options):
    return Net(**options)

def softmax():
    return nn.Sequential(Net(), nn.Softmax(1))

def without_linear():
    return nn.Sequential(nn.Conv2d(3, 3, 2), nn.Flatten())

def unused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    net.forward = lambda x: net[1](net[0](x))
    net.auxiliary = nn.Linear(2, 2)
    return net

class Standardises(Net):
    def forward(self, x):
        h = x.flatten(1)
        return super().forward((h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True))

def fails():
    raise OSError("no weights here")

def gives_text():
    return "model"

ready = Net()
number = 3

@dataclass(frozen=True, kw_only=True)
class Own(Architecture):
    width: int = 4
    def build(self, info):
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, self.width))
        head = nn.Linear(self.width, 3)
        return Classifier(nn.Identity(), body, head, features=self.width, classes=3)
"""


@pytest.fixture
def name(private_module: Callable[[str], str]) -> str:
    """The module above, importable from the working folder."""
    return private_module(SOURCE)


@pytest.fixture
def small(info: MakeInfo) -> DataInfo:
    """3x2x2 images of three classes."""
    return info((3, 2, 2), 3)


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


def test_a_private_architecture_is_used_as_such(name: str, small: DataInfo) -> None:
    """An Architecture subclass behind module:name is built with its options, which are checked."""
    assert create(f"{name}:Own:width=5", small).features_dim == 5
    with pytest.raises(UserError, match="did you mean width"):
        create(f"{name}:Own:wide=5", small)


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


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("nothing", "has no 'nothing'"),
        ("Net:widht=3", "unknown option 'widht'; did you mean width"),
        ("Net:classes=4", "4 outputs, the data have 3 classes"),
        ("Net:9", "not key=value"),
        ("gives_text", "should return an nn.Module, not str"),
        ("number", "not a callable"),
        ("softmax", "look like probabilities"),
    ],
)
def test_private_models_that_do_not_fit(
    attribute: str, words: str, name: str, small: DataInfo
) -> None:
    """Each misfit is a one-line UserError that begins with the spec."""
    with pytest.raises(UserError, match=words) as caught:
        create(f"{name}:{attribute}", small)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_module_is_named_without_its_suffix(name: str, small: DataInfo) -> None:
    """`my_models.py:Net`, a path where a module is due: the message has the right form."""
    with pytest.raises(UserError, match=f"write {name}:Net, without .py"):
        create(f"{name}.py:Net", small)


def test_a_factory_that_raises(name: str, small: DataInfo) -> None:
    """A factory's exception is a UserError that quotes it; so is a missing module."""
    with pytest.raises(UserError, match="OSError: no weights here"):
        create(f"{name}:fails", small)
    with pytest.raises(UserError, match="no module 'nowhere_to_be_found'"):
        create("nowhere_to_be_found:Net", small)


class _Fixed(nn.Module):
    """Returns the same thing whatever it is given."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> object:
        return self.value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, 3, 1), "shape"),
        (torch.zeros(1, 3), "shape"),
        (torch.zeros(2, 4), "4 outputs, the data have 3 classes"),
        (torch.tensor([[0.0, 1.0, float("nan")]] * 2), "not finite"),
        (torch.tensor([[0.0, 1.0, float("inf")]] * 2), "not finite"),
        (torch.zeros(2, 3, dtype=torch.long), "not finite numbers"),
        (torch.softmax(torch.tensor([[1.0, 2, 3], [3, 1, 2]]), 1), "look like probabilities"),
        (torch.tensor([[1.0, 0, 0], [0, 0, 1]]), "look like probabilities"),
        (torch.log_softmax(torch.tensor([[1.0, 2, 3], [3, 1, 2]]), 1), "log-probabilities"),
        (
            torch.sigmoid(torch.tensor([[1.0, 2, 3], [3, -1, 2]], requires_grad=True)),
            "made by a sigmoid; .* without the sigmoid",
        ),
        (("logits",), "tuple"),
    ],
)
def test_outputs_that_are_not_logits(value: object, words: str) -> None:
    """Wrong shapes, non-finite values and (log-)probabilities are each refused in one line."""
    with pytest.raises(UserError, match=words):
        check_logits(_Fixed(value), torch.zeros(2, 5), 3)


def test_logits_pass_and_one_odd_row_does_not_condemn() -> None:
    """Ordinary logits pass, even a non-negative row with sum 1, or all in [0,1].

    So do rows without an answer beside others, and classes that are ruled out.
    """
    check_logits(
        _Fixed(torch.tensor([[0.5, 0.9, 0.0], [0.2, 0.1, 0.3]], requires_grad=True)),
        torch.zeros(2, 5),
        3,
    )
    check_logits(
        _Fixed(torch.tensor([[torch.nan, 0.9, 0.0], [0.2, -torch.inf, 3]])), torch.zeros(2, 5), 3
    )
    check_logits(_Fixed(torch.tensor([[0.5, 0.5, 0.0], [2.0, 1.0, -3.0]])), torch.zeros(2, 5), 3)
    check_logits(_Fixed(torch.zeros(2, 3)), torch.zeros(2, 5), 3)


def test_a_model_that_cannot_take_the_shape() -> None:
    """An exception inside the model becomes one line with the shape of the images."""
    with pytest.raises(UserError, match=r"cannot process images of shape \(3, 4, 4\)") as caught:
        check_logits(nn.Conv2d(1, 2, 3), torch.zeros(2, 3, 4, 4), 2)
    assert "\n" not in str(caught.value)


def test_modes_and_statistics_are_restored() -> None:
    """Each layer keeps its mode (a frozen batch norm too), and running statistics stay."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model.train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    check_logits(model, torch.rand(8, 4), 3)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError):
        check_logits(model, torch.rand(8, 4), 5)
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_initial_weights_follow_the_global_seed(info: MakeInfo) -> None:
    """The same torch.manual_seed gives the same fresh model."""
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        weights.append(create("small-cnn:width=2", info((1, 8, 8))).head.weight)
    assert torch.equal(*weights)
