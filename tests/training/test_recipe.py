"""Schedules at their ends, optimizers, clipping, warm-up and mixup by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.data.loader import seeded_generator
from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES
from robbench.training.inner import Inner
from robbench.training.mixup import beta
from robbench.training.optimizers import make_optimizer
from robbench.training.schedules import SCHEDULES
from robbench.training.trainer import Trainer


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("cosine", {0: 1, 0.25: 0.5 + 0.5**1.5, 0.5: 0.5, 1: 0}),
        ("linear", {0: 1, 0.25: 0.75, 0.9: 0.1, 1: 0}),
        ("one-cycle", {0: 0, 0.15: 0.5, 0.3: 1, 0.65: 0.5, 1: 0}),
        ("piecewise", {0: 1, 0.4999: 1, 0.5: 0.1, 0.7499: 0.1, 0.75: 0.01, 1: 0.01}),
    ],
)
def test_schedules_at_their_ends(name, values):
    """Each schedule has the values of its definition at its ends and corners."""
    for progress, value in values.items():
        assert SCHEDULES[name](progress) == pytest.approx(value, abs=1e-9), (name, progress)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_in_the_unit_interval(name):
    """No schedule leaves [0,1] or jumps back up after its highest point."""
    values = [SCHEDULES[name](i / 200) for i in range(201)]
    top = values.index(max(values))
    assert 0 <= min(values) <= max(values) <= 1
    assert all(a >= b for a, b in zip(values[top:], values[top + 1 :], strict=False))


def test_the_rate_follows_samples_not_epochs(split, validation, threat, recipe, plain_model):
    """The rate of a batch is lr * schedule(share of training done at its middle), whatever the size of the last batch."""
    trainer = Trainer(plain_model(), CrossEntropy(), split, validation, recipe(epochs=2, batch_size=10, schedule="one-cycle"),
                      inner=None, threat=threat)  # fmt: skip
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
    """With zero gradients one step moves every matrix towards zero, and no bias, norm scale or other vector."""
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
    trainer = Trainer(plain_model(), CrossEntropy(), split, validation, recipe(batch_size=24, momentum=0.9, lr=0.1, epochs=3),
                      inner=None, threat=threat)  # fmt: skip
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
    """During warm-up the schedule's rate is multiplied by the share of the warm-up done; afterwards it is the schedule's."""
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


@pytest.mark.parametrize("clip", [0.01, 0.3, 1e6])
def test_clipping_bounds_the_whole_gradient(split, validation, threat, recipe, plain_model, clip):
    """A step is lr * g * min(1, clip / ||g||) with the norm of all weights together; a large bound changes nothing."""
    settings = recipe(lr=0.1, clip=clip)
    trainer = Trainer(
        plain_model(), CrossEntropy(), split, validation, settings, inner=None, threat=threat
    )
    trainer.run_epoch(lambda _: None)
    model = plain_model()
    grads = torch.autograd.grad(
        F.cross_entropy(model(split.images.float() / 255), split.labels), list(model.parameters())
    )
    norm = sum(float(grad.square().sum()) for grad in grads) ** 0.5
    assert 0.3 < norm < 1e6
    for ours, weight, grad in zip(
        trainer.model.parameters(), model.parameters(), grads, strict=True
    ):
        assert torch.allclose(ours, weight - 0.1 * grad * min(1, clip / norm), rtol=0, atol=1e-6)


def mixed(seed, epoch, number, alpha, x, y):
    """Zhang et al. 2018 by hand: one share for a batch, its inputs mixed with those of a shuffled copy, and either's labels."""
    generator = seeded_generator(seed, f"mixup {epoch}", number)
    a, b = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator).tolist()
    share = a / (a + b)
    order = torch.randperm(len(y), generator=generator)
    return share, share * x + (1 - share) * x[order], y[order]


def test_mixup_is_the_transcription(split, validation, threat, recipe, norm_model):
    """Two epochs of clean mixup: losses, weights and batch-norm statistics of one forward pass per step, to 1e-6."""
    ours, theirs = norm_model(), norm_model()
    for model in (ours, theirs):
        model.body[-1] = nn.Identity()
    settings = recipe(epochs=2, batch_size=10, lr=0.2, mixup=0.7)
    trainer = Trainer(ours, CrossEntropy(), split, validation, settings, inner=None, threat=threat)
    theirs.train()
    shares = []
    for epoch in range(2):
        batches = list(trainer.loader.epoch(epoch))
        row, total = trainer.run_epoch(lambda _: None), 0.0
        for number, (x, y, _) in enumerate(batches):
            share, x, other = mixed(3, epoch, number, 0.7, x, y)
            shares.append(share)
            logits = theirs(x)
            value = share * F.cross_entropy(logits, y) + (1 - share) * F.cross_entropy(
                logits, other
            )
            grads = torch.autograd.grad(value, list(theirs.parameters()))
            with torch.no_grad():
                for weight, grad in zip(theirs.parameters(), grads, strict=True):
                    weight -= 0.2 * grad
            total += len(y) * float(value.detach())
        assert row["train_loss"] == pytest.approx(total / 24, abs=1e-6)
        assert (row["n_forward"], row["n_backward"]) == (24, 24)
        for key, tensor in ours.state_dict().items():
            assert torch.allclose(
                tensor.float(), theirs.state_dict()[key].float(), rtol=0, atol=1e-6
            ), key
    assert len(set(shares)) == 6


class Spy(Loss):
    """TRADES or cross-entropy that notes what it was shown."""

    def __init__(self, loss):
        self.loss, self.seen = loss, []
        self.climbs = loss.climbs

    def __call__(self, step):
        self.seen.append((step.x, step.y, step.adversary(self.climbs).x, step.clean))
        return self.loss(step)


@pytest.mark.parametrize("loss", [CrossEntropy(), TRADES()])
def test_mixup_with_an_inner_attack(split, validation, threat, recipe, plain_model, loss):
    """Either label has an adversary of its own around the same mixed inputs; the value is the share-weighted sum of both."""
    spy, model = Spy(loss), plain_model()
    before = copy.deepcopy(model)
    attack = PGD(steps=3, init="gaussian")
    trainer = Trainer(
        model,
        spy,
        split,
        validation,
        recipe(mixup=1.0, lr=0.1),
        inner=Inner(attack, threat),
        threat=threat,
    )
    x, y, _ = next(iter(trainer.loader.epoch(0)))
    row = trainer.run_epoch(lambda _: None)
    share, mix, other = mixed(3, 0, 0, 1.0, x, y)
    (x1, y1, a1, clean1), (x2, y2, a2, clean2) = spy.seen
    assert x1 is x2
    assert torch.allclose(x1, mix, atol=1e-6)
    assert (y1.tolist(), y2.tolist()) == (y.tolist(), other.tolist())
    assert clean1 is clean2
    for points in (a1, a2):
        assert float((points - mix).abs().max()) <= 0.1 + 1e-6
    assert torch.equal(a1[y == other], a2[y == other])  # the same start, key and label
    if loss.climbs is None:
        assert bool((a1[y != other] != a2[y != other]).flatten(1).any(1).all())
        values = [
            F.cross_entropy(before(points), labels) for points, labels in ((a1, y), (a2, other))
        ]
    else:  # TRADES climbs away from the clean prediction, whatever the label
        assert a1 is a2  # made once
        assert (row["n_forward"], row["n_backward"]) == (len(y) * (1 + 3 + 2), len(y) * (3 + 2))
        log = [F.log_softmax(before(points), 1) for points in (mix, a1)]
        divergence = (log[0].exp() * (log[0] - log[1])).sum(1).mean()
        values = [F.cross_entropy(before(mix), labels) + 6 * divergence for labels in (y, other)]
    assert row["train_loss"] == pytest.approx(
        float((share * values[0] + (1 - share) * values[1]).detach()), abs=1e-5
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_of_mixup_is_beta(alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), as Beta(alpha, alpha) has; always inside [0,1], also where gammas vanish."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.tensor([beta(alpha, generator) for _ in range(4000)])
    assert 0 <= float(draws.min()) < float(draws.max()) <= 1
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(draws.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
    assert all(0 <= beta(1e-4, generator) <= 1 for _ in range(50))


def test_mixup_is_a_function_of_seed_and_epoch(split, validation, threat, recipe, plain_model):
    """Whatever the global generator did before, the same bits; and another epoch mixes otherwise."""

    def train(noise):
        trainer = Trainer(
            plain_model(),
            CrossEntropy(),
            split,
            validation,
            recipe(epochs=2, mixup=1.0),
            inner=None,
            threat=threat,
        )
        for _ in range(2):
            torch.rand(noise)
            trainer.run_epoch(lambda _: None)
        return trainer.model.head.weight

    assert torch.equal(train(1), train(50))
    shares = [mixed(3, epoch, 0, 1.0, torch.zeros(4), torch.zeros(4))[0] for epoch in (0, 1)]
    assert shares[0] != shares[1]
