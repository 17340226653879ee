"""EWAT: the vectors of the entropy, transcriptions with plain numbers, every option, what carries
gradient, and training.
"""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.ewat import EWAT, EWATTRADES
from robbench.losses.trades import TRADES, kl
from robbench.testing import check_loss

AT, TR = "robbench.losses.ewat:EWAT", "robbench.losses.ewat:EWATTRADES"


@pytest.fixture
def logging(fake_step):
    """Makes a step with an inner attack that keeps what is logged."""

    def make(clean, y, adversarial):
        step = fake_step(clean, y, adversarial, plain=False)
        step.logged = {}
        step.log = step.logged.update
        return step

    return make


def softmax(z):
    """Probabilities of one sample."""
    return [math.exp(v) / sum(map(math.exp, z)) for v in z]


def entropy(z):
    """Entropy of one sample."""
    return -sum(p * math.log(p) for p in softmax(z))


def random_logits(n, classes, seed):
    """[n,classes] in double precision."""
    return 2 * torch.randn(
        n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_the_vectors(logging, z, a):
    """H is 0.878281 for z and 1.245050 for a, whatever the label.

    The default weight is 1 + H / mean H.
    """
    both = torch.cat([z, a])
    step = logging(both, [0, 2], both)
    weights = EWAT().weights(step, both)
    assert step.logged["entropy"].tolist() == pytest.approx([0.878281, 1.245050], abs=1e-5)
    mean = (0.878281 + 1.245050) / 2
    assert weights.tolist() == pytest.approx([1 + 0.878281 / mean, 1 + 1.245050 / mean], abs=1e-5)
    assert EWAT()(step).tolist() == pytest.approx(
        [0.342350 * weights[0].item(), 0.787339 * weights[1].item()], abs=1e-5
    )


@pytest.mark.parametrize("normalise", ["mean", "max", "sum"])
@pytest.mark.parametrize("base", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("classes", [2, 5])
def test_they_are_the_transcriptions(logging, normalise, base, classes):
    """Values are those of plain loops over samples, for every normalisation and base."""
    clean, adversarial = random_logits(8, classes, 1), random_logits(8, classes, 2)
    y = [n % classes for n in range(8)]
    h = [entropy(q) for q in adversarial.tolist()]
    unit = {"mean": sum(h) / 8, "max": math.log(classes), "sum": sum(h)}[normalise]
    at, trades = [], []
    for e, z, q, k in zip(h, clean.tolist(), adversarial.tolist(), y, strict=True):
        p, p_adv, w = softmax(z), softmax(q), base + e / unit
        at.append(w * -math.log(p_adv[k]))
        trades.append(
            -math.log(p[k])
            + 4 * w * sum(u * math.log(u / v) for u, v in zip(p, p_adv, strict=True))
        )
    step = logging(clean, y, adversarial)
    assert EWAT(base=base, normalise=normalise)(step).tolist() == pytest.approx(at, rel=1e-10)
    assert step.asked == [None]
    step = logging(clean, y, adversarial)
    assert EWATTRADES(base=base, normalise=normalise, beta=4)(step).tolist() == pytest.approx(
        trades, rel=1e-10
    )
    assert step.asked == ["kl-from-clean"]


def test_equal_entropies_leave_the_plain_losses(logging, z):
    """With base=0 and the mean as unit, equal entropies give weights of 1."""
    same = z.expand(3, -1)
    step = logging(same, [0, 1, 2], same)
    assert torch.allclose(EWAT(base=0)(step), CrossEntropy()(step))
    assert torch.allclose(EWATTRADES(base=0, beta=2)(step), TRADES(beta=2)(step))


def test_the_weights_carry_no_gradient(logging):
    """Gradients are those of the plain losses times constant weights."""
    clean, adversarial = (
        random_logits(5, 3, 1).requires_grad_(),
        random_logits(5, 3, 2).requires_grad_(),
    )
    y = torch.tensor([0, 1, 2, 0, 1])
    step = logging(clean, y.tolist(), adversarial)
    w = EWAT().weights(step, adversarial)
    assert not w.requires_grad
    (found,) = torch.autograd.grad(EWAT()(step).sum(), adversarial)
    (expected,) = torch.autograd.grad(
        (w * F.cross_entropy(adversarial, y, reduction="none")).sum(), adversarial
    )
    assert torch.allclose(found, expected)
    found = torch.autograd.grad(EWATTRADES()(step).sum(), (clean, adversarial))
    plain = F.cross_entropy(clean, y, reduction="none") + 6 * w * kl(clean, adversarial)
    for one, other in zip(
        found, torch.autograd.grad(plain.sum(), (clean, adversarial)), strict=True
    ):
        assert torch.allclose(one, other)
        assert one.abs().max() > 0.01


@pytest.mark.parametrize("normalise", ["mean", "max", "sum"])
@pytest.mark.parametrize("loss", [EWAT, EWATTRADES])
def test_confident_models(logging, loss, normalise):
    """Where every entropy is zero, which has no mean to divide by, the weights are `base`.

    Nothing becomes NaN.
    """
    z = torch.tensor([[1e4, -1e4, 0.0]] * 2, requires_grad=True)
    step = logging(z, [0, 1], -1 * z)
    assert loss(normalise=normalise).weights(step, z).tolist() == [1, 1]
    value = loss(normalise=normalise)(step)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("spec", [AT, TR])
def test_they_conform(spec):
    """check_loss accepts them, and which ones look at the whole batch is declared."""
    for normalise in ("mean", "max", "sum"):
        check_loss(f"{spec}:normalise={normalise}")
        assert LOSSES.build(f"{spec}:normalise={normalise}").batch_coupled is (normalise != "max")
    check_loss(f"{spec}:base=0", 2)


@pytest.mark.parametrize("spec", [AT, TR])
def test_they_train(cli, tmp_path, spec):
    """A small network learns the digits, and the epochs table has the mean entropy, which falls."""
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {spec}"
        " --epochs 5 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "models/m/epochs.parquet")
    assert table.iloc[-1].clean_accuracy > 0.5
    means = [json.loads(row)["entropy"] for row in table.logs]
    assert 0 < means[-1] < means[0] <= math.log(10)


@pytest.mark.parametrize(("option", "value"), [("base", "-1"), ("normalise", "median")])
def test_bad_options(option, value):
    """An option of the wrong type or out of range is a UserError that names it."""
    for spec in (AT, TR):
        with pytest.raises(UserError, match=option):
            LOSSES.build(f"{spec}:{option}={value}")
