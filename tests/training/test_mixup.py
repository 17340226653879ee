"""Mixup by hand: shares, mixed inputs, and adversaries of either label."""

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
from robbench.training.trainer import Trainer


def mixed(seed, epoch, number, alpha, x, y):
    """Zhang et al. 2018 by hand: one share for a batch, its inputs mixed with those of a shuffled
    copy, and either's labels.
    """
    generator = seeded_generator(seed, f"mixup {epoch}", number)
    a, b = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator).tolist()
    share = a / (a + b)
    order = torch.randperm(len(y), generator=generator)
    return share, share * x + (1 - share) * x[order], y[order]


def test_mixup_is_the_transcription(split, validation, threat, recipe, norm_model):
    """Two epochs of clean mixup: losses, weights and batch-norm statistics of one forward pass per
    step, to 1e-6.
    """
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

    climbs = None

    def __init__(self, loss):
        self.loss, self.seen = loss, []
        self.climbs = loss.climbs

    def __call__(self, step):
        self.seen.append((step.x, step.y, step.adversary(self.climbs).x, step.clean))
        return self.loss(step)


@pytest.mark.parametrize("loss", [CrossEntropy(), TRADES()])
def test_mixup_with_an_inner_attack(split, validation, threat, recipe, plain_model, loss):
    """Either label has an adversary of its own around the same mixed inputs.

    The value is the share-weighted sum of both.
    """
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
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), as Beta(alpha, alpha) has.

    Always inside [0,1], also where gammas vanish.
    """
    generator = torch.Generator().manual_seed(0)
    draws = torch.tensor([beta(alpha, generator) for _ in range(4000)])
    assert 0 <= float(draws.min()) < float(draws.max()) <= 1
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(draws.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)
    assert all(0 <= beta(1e-4, generator) <= 1 for _ in range(50))


def test_mixup_is_a_function_of_seed_and_epoch(split, validation, threat, recipe, plain_model):
    """Whatever the global generator did before, the same bits.

    And another epoch mixes otherwise.
    """

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
