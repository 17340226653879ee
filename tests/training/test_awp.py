"""Adversarial weight perturbation against a plain transcription of the paper's algorithm, and what
it must leave alone.
"""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.mma import MMA
from robbench.losses.trades import TRADES
from robbench.training.awp import perturbed
from robbench.training.distributed import World
from robbench.training.inner import Inner
from robbench.training.trainer import Trainer

EPS, STEPS, RATE, GAMMA, BETA, LR = 0.1, 3, 0.4, 0.05, 6.0, 0.2


def without_dropout(model):
    """Dropout draws from the global generator, whose use may differ."""
    model.body[-1] = nn.Identity()
    return model


def inner_points(model, x, y, key, trades):
    """The papers' inner loop in evaluation mode; nothing of ours but the keyed random numbers."""
    model.eval()
    start = (
        (0.001 * keyed.normal(key, x.shape[1:])).clamp(-EPS, EPS)
        if trades
        else EPS * (2 * keyed.uniform(key, x.shape[1:]) - 1)
    )
    points = (x + start).clamp(0, 1)
    natural = F.log_softmax(model(x).detach(), 1)
    for _ in range(STEPS):
        points = points.detach().requires_grad_()
        logits = model(points)
        value = (
            F.kl_div(F.log_softmax(logits, 1), natural, reduction="sum", log_target=True)
            if trades
            else F.cross_entropy(logits, y, reduction="sum")
        )
        (grad,) = torch.autograd.grad(value, points)
        moved = points.detach() + RATE * EPS * grad.sign()
        points = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
    model.train()
    return points


def published_step(model, proxy_rate, x, y, key, trades):
    """Algorithm 1 as released: a copy goes one SGD step uphill, the difference is scaled, added,
    and taken away at the end.
    """
    points = inner_points(model, x, y, key, trades)

    def loss_of(net):
        logits = net(points)
        if not trades:
            return F.cross_entropy(logits, y)
        clean = net(x)
        return F.cross_entropy(clean, y) + BETA * F.kl_div(
            F.log_softmax(logits, 1), F.softmax(clean, 1), reduction="batchmean"
        )

    proxy = copy.deepcopy(model)
    optimizer = torch.optim.SGD(proxy.parameters(), lr=proxy_rate)
    optimizer.zero_grad()
    (-loss_of(proxy)).backward()
    optimizer.step()
    moves = {}
    for (name, old), new in zip(model.named_parameters(), proxy.parameters(), strict=True):
        if old.ndim > 1:
            difference = (new - old).detach()
            moves[name] = GAMMA * old.detach().norm() / (difference.norm() + 1e-20) * difference
    own = torch.optim.SGD(model.parameters(), lr=LR)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += moves.get(name, 0)
    value = loss_of(model)
    own.zero_grad()
    value.backward()
    own.step()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight -= moves.get(name, 0)
    return float(value.detach())


@pytest.mark.parametrize("trades", [False, True], ids=["cross-entropy", "trades"])
@pytest.mark.parametrize("proxy_rate", [0.01, 1.0])
def test_a_step_is_the_papers(split, validation, threat, recipe, norm_model, trades, proxy_rate):
    """After two epochs of one batch, loss, weights and batch-norm statistics are those of the
    released algorithm, to 1e-6.

    The rate of the proxy's step has no influence, because the difference is scaled.
    """
    ours, theirs = without_dropout(norm_model()), without_dropout(norm_model())
    loss, init = (TRADES(beta=BETA), "gaussian") if trades else (CrossEntropy(), "uniform")
    inner = Inner(PGD(steps=STEPS, rate=RATE, init=init), threat)
    trainer = Trainer(
        ours,
        loss,
        split,
        validation,
        recipe(lr=LR, awp=GAMMA, epochs=2),
        inner=inner,
        threat=threat,
    )
    x = split.images.float() / 255
    for epoch in range(2):
        row = trainer.run_epoch(lambda _: None)
        key = keyed.fold(keyed.fold(split.ids, 3), epoch)
        value = published_step(theirs, proxy_rate, x, split.labels, key, trades)
        assert row["train_loss"] == pytest.approx(value, abs=1e-6)
        for name, tensor in ours.state_dict().items():
            assert torch.allclose(
                tensor.float(), theirs.state_dict()[name].float(), rtol=0, atol=1e-6
            ), name
    plain = Trainer(
        without_dropout(norm_model()),
        loss,
        split,
        validation,
        recipe(lr=LR, epochs=2),
        inner=inner,
        threat=threat,
    )
    for _ in range(2):
        plain.run_epoch(lambda _: None)
    assert not torch.allclose(
        plain.model.head.weight, ours.head.weight, atol=1e-4
    )  # it does make a difference


def fixed_objective(model, x, y):
    return lambda: F.cross_entropy(model(x), y)


def test_weights_move_by_gamma_of_their_norm(split, norm_model):
    """Every matrix moves by gamma times its own norm, uphill; vectors and frozen weights do not.

    Then all are back.
    """
    model = without_dropout(norm_model()).train()
    model.head.weight.requires_grad_(False)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    x, y = split.pixels(slice(None)), split.labels
    value = fixed_objective(model, x, y)
    low = float(value().detach())
    with perturbed(model, 0.02, value, World()):
        for name, weight in model.named_parameters():
            if weight.ndim < 2 or name == "head.weight":
                assert torch.equal(weight, before[name]), name
            else:
                length = (weight.detach() - before[name]).norm() / before[name].norm()
                assert float(length) == pytest.approx(0.02, rel=1e-4), name
        assert float(value().detach()) > low
    assert all(
        torch.allclose(weight, before[name], rtol=0, atol=1e-6)
        for name, weight in model.named_parameters()
    )
    assert all(weight.grad is None for weight in model.parameters())


def test_a_weight_without_gradient_stays(split, plain_model):
    """A gradient that is zero, or a weight that the loss does not reach, is no direction: nothing
    moves, nothing is NaN.
    """
    model = plain_model()
    model.unused = nn.Linear(3, 3)
    before = copy.deepcopy(model.state_dict())
    for value in (
        fixed_objective(model, split.pixels(slice(None)), split.labels),
        lambda: 0 * model.head.weight.sum(),
    ):
        with perturbed(model, 0.1, value, World()):
            assert torch.equal(model.unused.weight, before["unused.weight"])
            assert all(torch.isfinite(weight).all() for weight in model.parameters())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(Loss):
    """Cross-entropy that remembers how often each sample was looked at, and notes it."""

    def __call__(self, step):
        seen = step.memory("seen", 0.0) + 1
        step.remember("seen", seen)
        step.log(looks=seen)
        return CrossEntropy()(step)


def test_the_ascent_leaves_no_trace(split, validation, threat, recipe, norm_model):
    """Batch-norm counts one batch per step, memories and logs hold one look per epoch, though there
    were two.
    """
    inner = Inner(PGD(steps=2), threat)
    trainer = Trainer(
        norm_model(),
        Counting(),
        split,
        validation,
        recipe(epochs=2, batch_size=10, awp=0.01),
        inner=inner,
        threat=threat,
    )
    rows = [trainer.run_epoch(lambda _: None) for _ in range(2)]
    assert int(trainer.model.body[2].num_batches_tracked) == 2 * 3
    assert trainer.notes.memory("seen", 0.0).tolist() == [2.0] * 24
    assert [json.loads(row["logs"])["looks"] for row in rows] == [1.0, 2.0]


def test_its_cost_is_one_more_pass(split, validation, threat, recipe, norm_model):
    """The inner attack is made once, before the weights move.

    A step has one more forward and backward than without.
    """
    model, seen = norm_model(), []
    clean = [weight.detach().clone() for weight in model.parameters()]

    def look(module, inputs):
        moved = not all(torch.equal(a, b) for a, b in zip(model.parameters(), clean, strict=True))
        seen.append(
            ("attack" if inputs[0].requires_grad else "loss", "moved" if moved else "clean")
        )

    handle = model.body.register_forward_pre_hook(look)
    trainer = Trainer(
        model,
        CrossEntropy(),
        split,
        validation,
        recipe(awp=0.01),
        inner=Inner(PGD(steps=4), threat),
        threat=threat,
    )
    trainer._end_epoch = handle.remove  # what comes after the step is not of interest
    row = trainer.run_epoch(lambda _: None)
    assert seen == [("attack", "clean")] * 4 + [("loss", "clean"), ("loss", "moved")]
    assert (row["n_forward"], row["n_backward"]) == (6 * 24, 6 * 24)


def test_with_mixup_both_attacks_come_first(split, validation, threat, recipe, plain_model):
    """Mixed labels have an adversary each.

    Both are made at the weights as they are, and used again at the perturbed ones.
    """
    model, seen = plain_model(), []
    clean = model.head.weight.detach().clone()
    handle = model.body.register_forward_pre_hook(
        lambda module, inputs: seen.append(
            (inputs[0].requires_grad, torch.equal(model.head.weight, clean))
        )
    )
    trainer = Trainer(
        model,
        CrossEntropy(),
        split,
        validation,
        recipe(awp=0.01, mixup=1.0),
        inner=Inner(PGD(steps=2), threat),
        threat=threat,
    )
    trainer._end_epoch = handle.remove
    row = trainer.run_epoch(lambda _: None)
    assert [untouched for attack, untouched in seen if attack] == [True] * 4
    assert [untouched for attack, untouched in seen if not attack] == [True] * 2 + [False] * 2
    assert (row["n_forward"], row["n_backward"]) == (8 * 24, 8 * 24)


class Failing(CrossEntropy):
    """Raises at the n-th look."""

    def __init__(self, look):
        object.__setattr__(self, "left", [look])

    def __call__(self, step):
        self.left[0] -= 1
        if self.left[0] == 0:
            raise ValueError("no")
        return super().__call__(step)


@pytest.mark.parametrize("look", [1, 2])
def test_a_failure_puts_the_weights_back(split, validation, threat, recipe, norm_model, look):
    """A loss that raises in the ascent, or at the perturbed weights, leaves weights, modes and
    gradient flags as they were.
    """
    model = norm_model()
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(
        model, Failing(look), split, validation, recipe(awp=0.5), inner=None, threat=threat
    )
    with pytest.raises(ValueError, match="no"):
        trainer.run_epoch(lambda _: None)
    for name, value in model.state_dict().items():
        assert torch.allclose(value.double(), before[name].double(), rtol=0, atol=1e-6), name
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(module.training for module in model.modules())


def test_warm_up_is_without_it(split, validation, threat, recipe, plain_model):
    """Until the given share of training the steps are the plain ones, to the last bit.

    From then on they are not.
    """

    def train(**changes):
        trainer = Trainer(
            plain_model(),
            CrossEntropy(),
            split,
            validation,
            recipe(epochs=4, **changes),
            inner=None,
            threat=threat,
        )
        ends, costs = [], []
        for _ in range(4):
            costs.append(trainer.run_epoch(lambda _: None)["n_forward"] // 24)
            ends.append(trainer.model.head.weight.detach().clone())
        return ends, costs

    plain, ours = train(), train(awp=0.1, awp_warmup=0.5)
    assert [torch.equal(a, b) for a, b in zip(plain[0], ours[0], strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert (plain[1], ours[1]) == ([1] * 4, [1, 1, 2, 2])


def test_margins_are_those_of_the_weights_as_they_are(
    split, validation, threat, recipe, plain_model
):
    """MMA under perturbed weights trains at the points it found before, remembers those distances,
    and attacks once.
    """
    rows, found = [], []
    for awp in (0.0, GAMMA):
        trainer = Trainer(
            plain_model(),
            MMA(),
            split,
            validation,
            recipe(awp=awp),
            inner=Inner(PGD(steps=3), threat),
            threat=threat,
        )
        rows.append(trainer.run_epoch(lambda _: None))
        found.append(trainer.notes.memory("mma", -1.0))
    assert torch.equal(found[0], found[1])
    assert rows[1]["n_forward"] == rows[0]["n_forward"] + 2 * len(
        split
    )  # the clean inputs and the margin's points once more
