"""Optimizers and their rate: momentum, weight decay and warm-up by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.optimizers import make_optimizer
from robbench.training.schedules import SCHEDULES
from robbench.training.trainer import Trainer


def test_the_rate_follows_samples_not_epochs(split, validation, threat, recipe, plain_model):
    """The rate of a batch is lr * schedule(share of training done at its middle), whatever the size
    of the last batch.
    """
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(epochs=2, batch_size=10, schedule="one-cycle"),
        inner=None,
        threat=threat,
    )
    rates = []
    rows = [
        trainer.run_epoch(lambda _: rates.append(trainer.optimizer.param_groups[0]["lr"]))
        for _ in range(2)
    ]
    shares = [(epoch + done / 24) / 2 for epoch in range(2) for done in (5, 15, 22)]
    expected = [0.5 * (p / 0.3 if p < 0.3 else (1 - p) / 0.7) for p in shares]
    assert rates == pytest.approx(expected)
    assert [row["learning_rate"] for row in rows] == pytest.approx([expected[2], expected[5]])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_weight_decay_spares_biases_and_norms(name):
    """With zero gradients one step moves every matrix towards zero, and no bias, norm scale or
    other vector.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3), nn.LayerNorm(3)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.5)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer = make_optimizer(name, model, lr=0.1, momentum=0.0, weight_decay=0.01)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, old in zip(model.parameters(), before, strict=True):
        if old.ndim < 2:
            assert torch.equal(weight, old)
        elif name == "adam":  # decay enters the gradient, which adam scales
            assert not torch.equal(weight, old)
        else:
            assert torch.allclose(weight, old * (1 - 0.1 * 0.01), rtol=1e-6)


def test_optimizers_have_every_parameter_once():
    """No parameter is forgotten or handed over twice."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    optimizer = make_optimizer("sgd", model, lr=0.1, momentum=0.9, weight_decay=0.0)
    held = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in model.parameters())


def test_sgd_momentum_is_the_textbooks(split, validation, threat, recipe, plain_model):
    """Three steps of SGD with momentum 0.9 equal v <- 0.9 v + g, w <- w - lr v by hand."""
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(batch_size=24, momentum=0.9, lr=0.1, epochs=3),
        inner=None,
        threat=threat,
    )
    for _ in range(3):
        trainer.run_epoch(lambda _: None)
    model, velocity = plain_model(), {}
    x = split.images.float() / 255
    for _ in range(3):
        grads = torch.autograd.grad(
            nn.functional.cross_entropy(model(x), split.labels), list(model.parameters())
        )
        with torch.no_grad():
            for weight, grad in zip(model.parameters(), grads, strict=True):
                velocity[weight] = 0.9 * velocity.get(weight, 0) + grad
                weight -= 0.1 * velocity[weight]
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine"])
def test_warm_up_grows_from_nothing(split, validation, threat, recipe, plain_model, schedule):
    """During warm-up the schedule's rate is multiplied by the share of the warm-up done.

    Afterwards it is the schedule's.
    """
    settings = recipe(epochs=4, batch_size=12, schedule=schedule, warmup=0.5, lr=0.2)
    trainer = Trainer(
        plain_model(), CrossEntropy(), split, validation, settings, inner=None, threat=threat
    )
    rates = []
    for _ in range(4):
        trainer.run_epoch(lambda _: rates.append(trainer.optimizer.param_groups[-1]["lr"]))
    shares = [(i + 0.5) / 8 for i in range(8)]
    assert rates == pytest.approx([0.2 * SCHEDULES[schedule](p) * min(1, 2 * p) for p in shares])
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {rates[-1]}
