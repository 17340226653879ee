"""Private models and the check that a model returns logits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.create import UnfitError, check_logits, create
from robbench.models.external import External

MakeInfo = Callable[..., DataInfo]


def test_a_private_architecture_is_used_as_such(name: str, small: DataInfo) -> None:
    """An Architecture subclass behind module:name is built with its options, which are checked."""
    assert create(f"{name}:Own:width=5", small).features_dim == 5
    with pytest.raises(UserError, match="did you mean width"):
        create(f"{name}:Own:wide=5", small)


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("nothing", "has no 'nothing'"),
        ("Net:widht=3", "unknown option 'widht'; did you mean width"),
        ("Net:classes=4", "4 outputs, the data have 3 classes"),
        ("Net:9", "not key=value"),
        ("gives_text", "should return an nn.Module, a function or an estimator, not"),
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


@pytest.mark.parametrize("attribute", ["Net:classes=4", "softmax"])
def test_a_misfit_comes_with_its_model(attribute: str, name: str, small: DataInfo) -> None:
    """What was built can be looked at; a spec that builds nothing has none."""
    with pytest.raises(UnfitError) as caught:
        create(f"{name}:{attribute}", small)
    assert caught.value.model(torch.rand(2, *small.shape)).shape[0] == 2
    with pytest.raises(UserError) as nothing:
        create(f"{name}:nothing", small)
    assert not isinstance(nothing.value, UnfitError)


def test_a_list_without_parentheses_is_shown_as_it_was_typed(name: str, small: DataInfo) -> None:
    with pytest.raises(UserError, match=r"'Net:outputs=1,2': '2' is not .* key=\(a,b\)"):
        create(f"{name}:Net:outputs=1,2", small)


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
        (torch.zeros(2, 3, dtype=torch.long), "of type int64; logits should be floats"),
        (torch.zeros(2, 3, dtype=torch.complex64), "of type complex64; logits should be floats"),
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


class Shrinks(nn.Module):
    """Ten logits for each input at first; then of one less."""

    def __init__(self, rows: bool) -> None:
        super().__init__()
        self.rows, self.whole = rows, True

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)[:, :10] * 3
        if self.whole:
            return z
        return z[1:] if self.rows else z[:, 1:]


@pytest.mark.parametrize(("rows", "shape"), [(True, r"\(3, 10\)"), (False, r"\(4, 9\)")])
def test_a_model_whose_answers_change_their_shape_is_an_error(rows: bool, shape: str) -> None:
    """It is the model's fault, and said so."""
    model, x = External(Shrinks(rows), 10), torch.rand(4, 1, 8, 8)
    check_logits(model, x, 10)
    assert model(x).shape == (4, 10)
    model.body.whole = False
    with pytest.raises(UserError, match=f"returns shape {shape} for 4 inputs"):
        model(x)
