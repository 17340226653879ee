"""MART: the vectors, a transcription with plain numbers, what carries gradient, confident models,
and training.
"""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.mart import MART
from robbench.losses.trades import kl
from robbench.testing import check_loss

SPEC = "robbench.losses.mart:MART"


def softmax(z):
    """Probabilities of one sample."""
    return [math.exp(v) / sum(map(math.exp, z)) for v in z]


def transcription(z, z_adv, y, beta):
    """MART of one sample by plain numbers."""
    p, q = softmax(z), softmax(z_adv)
    wrong = max(v for k, v in enumerate(q) if k != y)
    bce = -math.log(q[y]) - math.log(1.0001 - wrong + 1e-12)
    return bce + beta * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) * (
        1.0000001 - p[y]
    )


@pytest.mark.parametrize(("beta", "total"), [(0, 1.894224), (5, 2.537243), (6, 2.665846)])
def test_the_vectors(fake_step, z, a, beta, total):
    """BCE is 1.894224 and the weighted divergence 0.128604 at y = 0.

    The attack climbs its own objective, once.
    """
    step = fake_step(z, [0], a)
    assert MART(beta=beta)(step).tolist() == pytest.approx([total], abs=1e-5)
    assert step.asked == [None]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_is_the_transcription(fake_step, classes):
    """Values are those of plain loops, for right and wrong labels, with the released constants."""
    generator = torch.Generator().manual_seed(classes)
    clean, adversarial = (
        3 * torch.randn(12, classes, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    y = [n % classes for n in range(12)]
    values = MART(beta=4.5)(fake_step(clean, y, adversarial))
    expected = [
        transcription(c, d, k, 4.5)
        for c, d, k in zip(clean.tolist(), adversarial.tolist(), y, strict=True)
    ]
    assert values.tolist() == pytest.approx(expected, rel=1e-10)


def test_the_factor_carries_gradient(fake_step, z, a):
    """The gradient is that of finite differences, and differs from the one with 1 - p_y as a
    constant.
    """
    z, a = z.requires_grad_(), a.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, a: MART()(fake_step(z, [0], a)), (z, a))
    whole = torch.autograd.grad(MART()(fake_step(z, [0], a)).sum(), z)[0]
    factor = 1.0000001 - z.softmax(1)[:, 0]
    part = torch.autograd.grad((5 * kl(z, a) * factor.detach()).sum(), z, retain_graph=True)[0]
    rest = torch.autograd.grad((5 * kl(z, a).detach() * factor).sum(), z)[0]
    assert torch.allclose(whole, part + rest)
    assert rest.abs().max() > 0.1


@pytest.mark.parametrize("y", [0, 1])
def test_confident_models(fake_step, y):
    """Logits of +-1e4, the same on both sides or opposite, give finite values and gradients in
    float32.
    """
    z = torch.tensor([[1e4, -1e4, 0.0]] * 2, requires_grad=True)
    value = MART()(fake_step(z, [y, y], z.detach() * torch.tensor([[1.0], [-1.0]]) + 0 * z))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()


def test_a_surely_wrong_sample_has_the_released_ceiling(fake_step):
    """Where max q rounds to 1, the second part of the boosted cross-entropy is -log(0.0001), not
    infinity.
    """
    wrong = torch.tensor([[0.0, 60.0]])
    value = MART(beta=0)(fake_step(wrong, [0], wrong))
    assert value.item() == pytest.approx(60 - math.log(1.0001 - 1), abs=0.01)
    assert F.cross_entropy(wrong, torch.tensor([0])).item() == pytest.approx(60)


@pytest.mark.parametrize("options", ["", ":beta=0", ":beta=6"])
def test_it_conforms(options):
    """check_loss accepts it, with 2 and 5 classes."""
    for classes in (2, 5):
        check_loss(SPEC + options, classes)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits, with the inner attack the loss brings along."""
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}"
        " --epochs 5 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    assert pd.read_parquet(tmp_path / "models/m/epochs.parquet").iloc[-1].clean_accuracy > 0.5


def test_bad_input(cli, tmp_path):
    """A negative beta and a recipe without an inner attack are refused before anything is
    written.
    """
    with pytest.raises(UserError, match="beta"):
        LOSSES.build(f"{SPEC}:beta=-1")
    done = cli(f"train --data digits --loss {SPEC} --inner none --out", tmp_path / "S")
    assert done.code == 2
    assert "needs an inner attack" in done.err
    assert not (tmp_path / "S").exists()
