"""What a training will take is told from its first steps, by a clock of the test."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.forecast import STEPS, StepTimer, forecast_training
from robbench.tasks.train.plan import plan_training
from robbench.training.trainer import Progress


@pytest.fixture
def plan(tmp_path):
    config = TrainConfig(model="mlp:width=8,depth=1", limit=300, batch_size=16, epochs=4)
    return plan_training(
        config, name="m", out=tmp_path, device="cpu", data_dir=None, download=False
    )


def after(epoch: int, samples: int, total: int = 160) -> Progress:
    return Progress(epoch, samples, total, torch.tensor(1.0))


def test_seconds_of_the_first_steps_times_all_steps(plan):
    """The first step, which takes 9 s, is not counted; the others take 0.1 s: 10 an epoch."""
    time = iter([9.0] + [9.0 + 0.1 * n for n in range(1, 20)])
    timer = StepTimer(plan, lambda: next(time))
    found = [timer.step(after(0, 16 * n)) for n in range(1, 11)]
    (forecast,) = filter(None, found)
    assert found.index(forecast) == STEPS
    assert forecast.steps == 4 * 10
    assert forecast.seconds_per_step == pytest.approx(0.1)
    assert forecast.seconds == pytest.approx(4.0)


def test_a_slow_step_is_enough(plan):
    time = iter([0.0, 7.0])
    timer = StepTimer(plan, lambda: next(time))
    assert timer.step(after(1, 16)) is None
    assert timer.step(after(1, 32)).seconds == pytest.approx(7.0 * 10 * 3)  # epochs 2 to 4


def test_a_validation_between_two_steps_is_not_counted(plan):
    """An epoch of two steps ends; the next begins with a step to warm up."""
    plan = dataclasses.replace(plan)
    time = iter([0.0, 0.1])
    timer = StepTimer(plan, lambda: next(time))
    assert timer.step(after(0, 16, 32)) is None
    assert timer.step(after(0, 32, 32)).seconds_per_step == pytest.approx(0.1)
    single = StepTimer(plan, lambda: 0.0)
    assert [single.step(after(epoch, 16, 16)) for epoch in range(4)] == [None] * 4


def test_trying_writes_nothing_and_leaves_random_states(plan, tmp_path):
    before = torch.get_rng_state().clone()
    forecast = forecast_training(plan)
    assert forecast is not None
    assert forecast.steps == 4 * -(-len(plan.train) // 16)
    assert forecast.seconds == pytest.approx(forecast.steps * forecast.seconds_per_step)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.iterdir())
