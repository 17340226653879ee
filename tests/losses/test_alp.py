"""Adversarial logit pairing: its vectors, a slow transcription, where gradients flow, and what its
options mean.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.errors import UserError
from robbench.losses.alp import ALP
from robbench.models.base import Classifier
from robbench.testing import check_loss, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.step import TrainStep

SPEC = "robbench.losses.alp:ALP"
OPTIONS = [
    {"lam": lam, "clean": clean, "space": space, "reduction": reduction}
    for lam, clean, space, reduction in itertools.product(
        [0.0, 0.7], [0.0, 0.3, 1.0], ["logits", "probs"], ["mean", "sum"]
    )
]


def slow(clean, adversarial, labels, *, lam, clean_share, space, reduction):
    """[B] by loops over samples and classes."""
    values = []
    for z, a, y in zip(clean, adversarial, labels, strict=True):
        entropies, pair = [], []
        for logits in (z, a):
            total = sum(math.exp(v) for v in logits)
            entropies.append(-math.log(math.exp(logits[y]) / total))
            pair.append([math.exp(v) / total for v in logits] if space == "probs" else list(logits))
        squares = [(p - q) ** 2 for p, q in zip(*pair, strict=True)]
        distance = sum(squares) / (len(squares) if reduction == "mean" else 1)
        values.append(
            clean_share * entropies[0] + (1 - clean_share) * entropies[1] + lam * distance
        )
    return values


@pytest.mark.parametrize(
    ("spec", "y", "value"),
    [
        ("", 0, (0.342350 + 1.287339) / 2 + 0.5 * 0.9375),
        ("", 2, (1.842350 + 0.787339) / 2 + 0.5 * 0.9375),
        (":lam=2,reduction=sum", 0, (0.342350 + 1.287339) / 2 + 2 * 3.75),
        (":clean=0", 0, 1.287339 + 0.5 * 0.9375),
        (":clean=1,lam=1", 2, 1.842350 + 0.9375),
    ],
)
def test_the_vectors(fake_step, z, a, spec, y, value):
    """Cross-entropies and squared difference of the vectors, mixed as the options say.

    The attack is asked once.
    """
    step = fake_step(z, [y], a)
    assert LOSSES.build(SPEC + spec)(step).tolist() == pytest.approx([value], abs=2e-6)
    assert step.asked == [None]


def conflict_by_hand(z, a, y, clean):
    """The inner product of both gradients at the logits, up to a positive factor.

    <(z-z', z'-z), (c (p-e), (1-c) (q-e))> with p, q softmax and e the label.
    """
    p, q = (np.exp(v) / np.exp(v).sum(1, keepdims=True) for v in (z, a))
    e = np.eye(z.shape[1])[y]
    return ((clean * (p - e) - (1 - clean) * (q - e)) * (z - a)).sum(1)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("clean", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_conflict_of_pairing_and_cross_entropy(fake_step, classes, clean, dtype):
    """As by hand, and never where both halves have the same share: convexity."""
    rng = np.random.default_rng(classes)
    z = 2 * rng.normal(size=(4000, classes))
    a = z + rng.normal(size=z.shape)
    y = np.where(rng.random(4000) < 0.8, z.argmax(1), rng.integers(classes, size=4000))
    step = fake_step(torch.tensor(z, dtype=dtype), y.tolist(), torch.tensor(a, dtype=dtype))
    ALP(clean=clean)(step)
    found, expected = step.logged["conflict"].numpy(), conflict_by_hand(z, a, y, clean)
    sure = np.abs(expected) > 1e-3
    assert (found[sure] == (expected < 0)[sure]).all()
    if clean == 0.5:
        assert found.sum() == 0
    else:
        assert 0.01 < found.mean() < 0.99


def test_equal_logits_do_not_conflict(fake_step):
    """No gradient opposes anything."""
    z = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    step = fake_step(z, [0, 1], z.clone())
    ALP(clean=0)(step)
    assert step.logged["conflict"].tolist() == [0, 0]


@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_the_slow_loop(fake_step, options):
    """Five random samples of four classes under each combination of options."""
    rng = np.random.default_rng(0)
    clean, adversarial = 2 * rng.normal(size=(2, 5, 4))
    labels = [0, 3, 2, 2, 1]
    found = ALP(**options)(fake_step(torch.tensor(clean), labels, torch.tensor(adversarial)))
    named = {**options, "clean_share": options["clean"]}
    del named["clean"]
    assert found.tolist() == pytest.approx(slow(clean, adversarial, labels, **named), rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_flow_through_both_branches(fake_step, z, a, options):
    """They are those of finite differences.

    A branch has none exactly when nothing in the formula looks at it.
    """
    z, a = z.requires_grad_(), a.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, a: ALP(**options)(fake_step(z, [0], a)), (z, a))
    into_clean, into_adversarial = torch.autograd.grad(
        ALP(**options)(fake_step(z, [0], a)).sum(), (z, a)
    )
    assert bool(into_clean.any()) == (options["clean"] > 0 or options["lam"] > 0)
    assert bool(into_adversarial.any()) == (options["clean"] < 1 or options["lam"] > 0)


def test_the_pairing_pulls_both_branches_equally(fake_step, z, a):
    """What the pairing adds to the gradient is opposite in the two branches, as the authors detach
    neither.
    """
    grads = []
    for lam in (0.0, 1.0):
        clean, adversarial = z.clone().requires_grad_(), a.clone().requires_grad_()
        ALP(lam=lam)(fake_step(clean, [0], adversarial)).sum().backward()
        grads.append((clean.grad, adversarial.grad))
    pulls = [one - none for none, one in zip(*grads, strict=True)]
    assert torch.allclose(pulls[0], (z - a) / 2)  # 2 (z - a) / K
    assert torch.allclose(pulls[1], -pulls[0])


@pytest.mark.parametrize("space", ["logits", "probs"])
def test_confident_models_give_finite_numbers(fake_step, space):
    """Logits of 1e4, right and wrong, have finite values and gradients in float32."""
    z = torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 0]], requires_grad=True)
    values = ALP(space=space)(fake_step(z, [0, 0], -z))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    "options", ["", ":clean=0", ":clean=1,space=probs,reduction=sum", ":lam=0"]
)
def test_it_keeps_the_contract(options):
    """Per sample, repeatable, with a gradient, for four and two classes."""
    check_loss(SPEC + options, 4)
    check_loss(SPEC + options, 2)


@pytest.mark.parametrize("options", ["", ":clean=0,space=probs,reduction=sum,lam=5"])
def test_it_trains(options):
    """A small network learns the toy data."""
    assert trained(LOSSES.build(SPEC + options))[0] > 0.6  # chance is about 0.25


def test_pairing_brings_the_logits_together():
    """After training with a large weight the logits at x and x' are closer than after training
    without it.
    """
    assert trained(ALP(lam=20))[1] < 0.5 * trained(ALP(lam=0))[1]


def trained(loss):
    """Accuracy on its training data and mean |z - z'| of a network after 40 steps."""
    torch.manual_seed(0)
    split = toy_split(32)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU())
    model = Classifier(nn.Identity(), body, nn.Linear(16, 4), features=16, classes=4)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    x, index = split.pixels(slice(None)), torch.arange(32)
    inner = Inner(ATTACKS.build("pgd:steps=2"), parse_threat("linf:0.05")[0])
    for t in range(40):
        step = TrainStep(
            model, x, split.labels, index, key=split.ids + t, inner=inner, epoch=t, progress=t / 40
        )
        optimizer.zero_grad()
        loss(step).mean().backward()
        optimizer.step()
    with torch.no_grad():
        gap = (model(step.adversary().x) - model(x)).abs().mean()
        return float((model(x).argmax(1) == split.labels).float().mean()), float(gap)


@pytest.mark.parametrize(
    "bad",
    ["lam=-1", "clean=1.5", "clean=-0.1", "space=features", "reduction=max", "beta=1", "lam=nan"],
)
def test_bad_options_are_one_clear_line(bad):
    """An option out of range, of the wrong type or unknown is a UserError that names it."""
    with pytest.raises(UserError) as error:
        LOSSES.build(f"{SPEC}:{bad}")
    assert bad.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)
