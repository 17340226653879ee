"""Time measured by a clock that counts rows: what is told per row is what the model takes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from robbench.attacks.base import AttackEntry
from robbench.attacks.noise import Noise
from robbench.attacks.pgd import PGD
from robbench.core.freeze import frozen
from robbench.engine.stopwatch import Pace, measure_pace
from robbench.threat.model import parse_threat

ENTRIES = [AttackEntry("pgd", PGD(steps=3)), AttackEntry("noise", Noise(steps=3))]


class Ticking(nn.Module):
    """A model and a clock: a row takes `forward` seconds, its gradient `backward` more."""

    def __init__(self, model: nn.Module, forward: float, backward: float) -> None:
        super().__init__()
        self.model = model
        self.costs = (forward, backward)
        self.time, self.rows = 0.0, 0

    def forward(self, x):
        logits = self.model(x)
        self.rows += len(x)
        self.time += self.costs[0] * len(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, grad):
        self.time += self.costs[1] * len(grad)

    def clock(self) -> float:
        return self.time


def measured(model, digits) -> Pace:
    with frozen(model):
        return measure_pace(
            model, digits.split, parse_threat("linf:0.1"), ENTRIES, seed=0, width=64,
            clock=model.clock,
        )  # fmt: skip


def test_seconds_per_row_and_step(digits):
    """PGD takes a forward and a backward a step, random points a forward."""
    model = Ticking(copy.deepcopy(digits.model), 1e-6, 2e-6)
    pace = measured(model, digits)
    assert pace.forward == pytest.approx(1e-6)
    assert pace.backward == pytest.approx(2e-6)
    assert pace.steps == pytest.approx((3e-6, 1e-6))
    assert pace.step(0, 1, 1) == pytest.approx(3e-6)


@pytest.mark.parametrize("busy", [(0,), (0, 2, 4, 6, 11)])
def test_a_busy_machine_and_the_first_batch_do_not_count(digits, busy):
    """Of the first calls these take 0.3 s longer than the model does."""

    class Busy(Ticking):
        calls = 0

        def forward(self, x):
            self.time += 0.3 if self.calls in busy else 0.0
            self.calls += 1
            return super().forward(x)

    pace = measured(Busy(copy.deepcopy(digits.model), 1e-6, 2e-6), digits)
    assert pace.forward == pytest.approx(1e-6)
    assert pace.backward == pytest.approx(2e-6)


def test_a_huge_model_is_asked_twice_and_the_rest_is_told_from_that(digits):
    model = Ticking(copy.deepcopy(digits.model), 0.5, 1.0)
    pace = measured(model, digits)
    assert pace == Pace(0.5, 1.0, (None, None))
    assert model.rows == 2 * 4
    assert pace.step(0, gradients=1, draws=20) == pytest.approx(20 * 1.5)
    assert pace.step(1, gradients=0, draws=1) == 0.5


def test_the_model_and_random_states_are_left_as_they_were(digits):
    class Drawing(Ticking):
        def forward(self, x):
            return super().forward(x + 0 * torch.rand(1))

    model = Drawing(copy.deepcopy(digits.model), 1e-6, 1e-6)
    model.register_buffer("seen", torch.zeros(1))
    before = torch.get_rng_state().clone()
    measured(model, digits)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_a_model_that_cuts_gradients_off_is_timed_too(digits):
    class Cut(Ticking):
        def forward(self, x):
            return super().forward(x.detach()).detach()

    assert measured(Cut(copy.deepcopy(digits.model), 0.5, 1.0), digits).backward == 0
