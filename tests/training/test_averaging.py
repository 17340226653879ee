"""Averages of the weights: against sums written by hand, validated and kept in place of the
weights.
"""

from __future__ import annotations

import copy
import io

import pytest
import torch

from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.trainer import Trainer


def state_of(model):
    """Weights and buffers, apart."""
    return copy.deepcopy(model.state_dict())


def assert_close(ours, theirs, atol=1e-6):
    for name, value in theirs.items():
        assert torch.allclose(ours[name].double(), value.double(), rtol=0, atol=atol), name


@pytest.fixture
def make(split, validation, threat, recipe, norm_model):
    """A trainer with batch-norm and dropout, in batches of 10, 10 and 4."""

    def make(**changes):
        settings = recipe(**{"batch_size": 10, "lr": 0.3, **changes})
        return Trainer(
            norm_model(), CrossEntropy(), split, validation, settings, inner=None, threat=threat
        )

    return make


@pytest.mark.parametrize("decay", [0.2, 0.35, 0.9])
def test_ema_is_the_sum_by_hand(make, decay):
    """After two epochs of three steps the average is w1, then d a + (1 - d) w after each step,
    running statistics included.

    d is the given decay, but no more than (1 + n) / (10 + n) after n steps.
    """
    trainer, steps = make(epochs=2, average="ema", ema_decay=decay), []
    for _ in range(2):
        trainer.run_epoch(lambda _: steps.append(state_of(trainer.model)))
    assert len(steps) == 6
    average = {name: value.double() for name, value in steps[0].items()}
    for n, step in enumerate(steps[1:], 1):
        d = min(decay, (1 + n) / (10 + n))
        average = {name: d * average[name] + (1 - d) * step[name].double() for name in average}
    del average["body.2.num_batches_tracked"]  # a whole number, which nobody reads
    assert_close(trainer.averaged_model.state_dict(), average)
    assert not torch.allclose(
        trainer.averaged_model.state_dict()["head.weight"], steps[-1]["head.weight"], atol=1e-3
    )


@pytest.mark.parametrize(
    ("epochs", "averaged"), [(1, [1]), (3, [3]), (4, [4]), (6, [5, 6]), (8, [7, 8]), (9, [7, 8, 9])]
)
def test_swa_is_the_mean_of_the_last_quarter(make, epochs, averaged):
    """The average is the plain mean of the weights at the ends of the epochs that end in the last
    quarter, and of no other.
    """
    trainer, ends = make(epochs=epochs, average="swa"), []
    for epoch in range(1, epochs + 1):
        trainer.run_epoch(lambda _: None)
        ends.append(state_of(trainer.model))
        assert (trainer.averaged_model is trainer.model) == (epoch < averaged[0])
    mean = {
        name: sum(ends[epoch - 1][name].double() for epoch in averaged) / len(averaged)
        for name in ends[0]
    }
    del mean["body.2.num_batches_tracked"]
    assert_close(trainer.averaged_model.state_dict(), mean)
    if len(averaged) > 1:
        assert not torch.allclose(
            trainer.averaged_model.state_dict()["head.weight"], ends[-1]["head.weight"], atol=1e-3
        )


def test_the_trained_weights_are_not_touched(make):
    """With or without an average the weights that are trained are the same bits."""
    plain, ema, swa = (make(epochs=3, average=kind) for kind in ("none", "ema", "swa"))
    for trainer in (plain, ema, swa):
        for _ in range(3):
            trainer.run_epoch(lambda _: None)
    assert plain.averaged_model is plain.model
    for trainer in (ema, swa):
        assert all(
            torch.equal(value, trainer.model.state_dict()[name])
            for name, value in plain.model.state_dict().items()
        )


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_average_is_what_is_validated(make, validation, kind):
    """The row's clean margin and accuracy are those of the average in evaluation mode, not those of
    the weights in training.
    """
    trainer = make(epochs=4, average=kind, ema_decay=0.9, lr=1.0, schedule="one-cycle")
    for _ in range(3):
        trainer.run_epoch(lambda _: None)
    if kind == "swa":  # so that it is the mean of two
        trainer.average.average.update_parameters(trainer.model)
    row = trainer.run_epoch(lambda _: None)
    x, y = validation.images.float() / 255, validation.labels

    def margins(model):
        with torch.no_grad():
            z = copy.deepcopy(model).eval()(x)
        return z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -torch.inf).amax(1)

    expected, other = margins(trainer.averaged_model), margins(trainer.model)
    assert row["clean_margin"] == pytest.approx(float(expected.mean()), abs=1e-5)
    assert row["clean_accuracy"] == pytest.approx(float((expected > 0).float().mean()))
    assert abs(float(other.mean()) - row["clean_margin"]) > 1e-3


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_state_carries_the_average(make, kind):
    """A fresh trainer that loads a state goes on with the same average, to the last bit."""

    def make_one():
        return make(epochs=8, average=kind, ema_decay=0.9)

    straight, second = make_one(), make_one()
    for _ in range(7):
        straight.run_epoch(lambda _: None)
    file = io.BytesIO()
    torch.save(trainer_state(straight), file)
    file.seek(0)
    restore_trainer(second, torch.load(file, weights_only=True))
    rows = [{**trainer.run_epoch(lambda _: None), "seconds": 0} for trainer in (straight, second)]
    assert rows[0] == rows[1]
    assert straight.averaged_model is not straight.model
    for one, other in (
        (straight.model, second.model),
        (straight.averaged_model, second.averaged_model),
    ):
        assert all(
            torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
        )
