"""The frozen model: nothing an attack does to it is left behind."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def mixed() -> nn.Sequential:
    """A model in mixed modes, with one frozen weight, buffers and a gradient already there."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Dropout(0.5),
        nn.BatchNorm1d(4, momentum=None),
        nn.Linear(4, 2),
    )
    model[0].weight.requires_grad_(False)
    model[1].eval()
    model[4].bias.grad = torch.ones(2)
    return model


def _facts(model: nn.Module) -> tuple[Any, ...]:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return (
        [m.training for m in model.modules()],
        [w.requires_grad for w in model.parameters()],
        [w.grad for w in model.parameters()],
        state,
    )


def _same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return (
        a[:2] == b[:2]
        and all(x is y for x, y in zip(a[2], b[2], strict=True))
        and all(torch.equal(a[3][k], b[3][k]) for k in a[3])
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_frozen_puts_everything_back(training: bool, fails: bool, mixed: nn.Sequential) -> None:
    """Modes, flags, gradients, weights and statistics are restored, after an exception too."""
    before, buffers = _facts(mixed), list(mixed.buffers())
    try:
        with frozen(mixed, training=training):
            assert all(module.training == training for module in mixed.modules())
            assert not any(weight.requires_grad for weight in mixed.parameters())
            x = torch.randn(8, 3, requires_grad=True)
            mixed(x).sum().backward()
            assert x.grad is not None
            assert training != torch.equal(mixed[1].running_mean, before[3]["1.running_mean"])
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert _same(_facts(mixed), before)
    assert all(a is b for a, b in zip(mixed.buffers(), buffers, strict=True))


def test_frozen_can_be_nested(mixed: nn.Sequential) -> None:
    """An attack inside an attack leaves the outer one's settings, and both leave the model's."""
    before = _facts(mixed)
    with frozen(mixed):
        inside = _facts(mixed)
        with frozen(mixed, training=True):
            mixed(torch.randn(4, 3))
        assert _same(_facts(mixed), inside)
    assert _same(_facts(mixed), before)


class Restless(nn.Module):
    """Changes its buffers, in eval mode too: in place, by a new tensor, and by a new name."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("written", torch.zeros(2))
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("lazy", None)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.linear(x)
        self.written += z.detach().mean(0)
        self.replaced = self.replaced + z.detach().mean(0)
        self.lazy = z.detach().mean(0)
        return z


def test_buffers_that_a_model_changes_in_eval_mode_are_put_back() -> None:
    """The same tensors with the same values, written to or replaced, and None where none was."""
    model = Restless()
    buffers = [model.written, model.replaced]
    with frozen(model):
        model(torch.rand(4, 3))
        assert all(bool(buffer.any()) for buffer in (model.written, model.replaced, model.lazy))
    assert model.written is buffers[0]
    assert model.replaced is buffers[1]
    assert model.lazy is None
    assert not any(bool(buffer.any()) for buffer in buffers)


def test_gradients_that_a_backend_adds_up_are_not_the_models(mixed: nn.Sequential) -> None:
    """A package that accumulates weight gradients leaves no trace, with or without a gradient."""
    there = mixed[4].bias.grad
    with frozen(mixed):
        for weight in mixed.parameters():
            weight.requires_grad_(True)
        mixed(torch.rand(4, 3)).sum().backward()
        assert all(weight.grad is not None for weight in mixed.parameters())
    assert mixed[4].bias.grad is there
    assert torch.equal(there, torch.ones(2))
    assert all(weight.grad is None for weight in mixed.parameters() if weight is not mixed[4].bias)


@pytest.mark.parametrize("fails", [False, True])
def test_the_global_random_states_are_put_back(fails: bool) -> None:
    """Torch's, numpy's and Python's generators are unaffected by an attack that reseeds."""

    def draw() -> list[float]:
        cuda = torch.rand(2, device="cuda").tolist() if torch.cuda.is_available() else []
        return [
            *torch.rand(2).tolist(),
            *np.random.rand(2).tolist(),  # noqa: NPY002
            random.random(),
            random.gauss(0, 1),
            *cuda,
        ]

    def seed() -> None:
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        random.seed(3)

    model = nn.Linear(2, 2)
    with frozen(model):  # the test's own numbers
        seed()
        draw()
        expected = draw()
        seed()
        draw()
        try:
            with frozen(model):
                draw()
                torch.manual_seed(0)
                np.random.seed(0)  # noqa: NPY002
                random.seed(0)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            assert fails
        assert draw() == expected


def test_inside_a_training_step_randomness_runs_on(mixed: nn.Sequential) -> None:
    """With thorough=False attack and step draw different numbers; the model is restored."""
    before = _facts(mixed)
    with frozen(mixed):  # the test's own numbers
        torch.manual_seed(5)
        expected = torch.rand(8)
        torch.manual_seed(5)
        with frozen(mixed, training=True, thorough=False):
            drawn = torch.rand(4)
        assert torch.equal(torch.cat([drawn, torch.rand(4)]), expected)
        with frozen(mixed, training=True, thorough=False):
            mixed(torch.randn(4, 3))
    assert _same(_facts(mixed), before)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("outside", [False, True])
def test_a_graph_made_before_an_attack_is_still_valid(
    outside: bool, inside: bool, thorough: bool
) -> None:
    """A loss may use the output and attack before its backward (TRADES, MART), in any mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train(outside)
    model[1].running_var.fill_(2.0)
    x = torch.rand(8, 3)
    expected = torch.autograd.grad(model(x).square().sum(), model[0].weight)[0]
    model[1].running_mean.zero_()
    model[1].running_var.fill_(2.0)
    clean = model(x).square().sum()
    with frozen(model, training=inside, thorough=thorough):
        model(torch.rand(8, 3))
    assert torch.equal(torch.autograd.grad(clean, model[0].weight)[0], expected)


def test_a_scripted_model_is_put_back() -> None:
    """Buffers and modes of a TorchScript module are reached as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, but such models are around
        model = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with frozen(model, training=True):
        model(torch.rand(8, 3))
        assert not torch.equal(model.state_dict()["1.running_mean"], before["1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
