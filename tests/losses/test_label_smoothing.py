"""Label smoothing: a plain double loop, its decomposition, and what it asks of a confident
model.
"""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.label_smoothing import LabelSmoothing
from robbench.testing import check_loss

SPEC = "robbench.losses.label_smoothing:LabelSmoothing"


def slow(z, y, e):
    """- sum_k q_k log p_k of one sample, class by class."""
    p = [math.exp(v) / sum(math.exp(w) for w in z) for v in z]
    return -sum(((1 - e) * (k == y) + e / len(z)) * math.log(p[k]) for k in range(len(z)))


@pytest.mark.parametrize(
    ("which", "y", "ce"),
    [("z", 0, 0.342350), ("z", 2, 1.842350), ("a", 0, 1.287339), ("a", 2, 0.787339)],
)
def test_the_vectors(fake_step, request, which, y, ce):
    """With no smoothing the cross-entropies of the vectors.

    With 0.1 as much more as 0.1 (z_y - mean z).
    """
    logits = request.getfixturevalue(which)
    step = fake_step(logits, [y])
    assert LabelSmoothing(smoothing=0.0)(step).tolist() == pytest.approx([ce], abs=1e-5)
    more = 0.1 * (logits[0, y] - logits.mean())
    assert LabelSmoothing()(step).tolist() == pytest.approx([ce + float(more)], abs=1e-5)


@pytest.mark.parametrize("e", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("classes", [2, 7])
def test_a_plain_transcription(fake_step, e, classes):
    """Random logits give what the formula gives class by class, in double precision."""
    logits = 3 * torch.randn(
        6, classes, generator=torch.Generator().manual_seed(classes), dtype=torch.float64
    )
    y = [i % classes for i in range(6)]
    values = LabelSmoothing(smoothing=e)(fake_step(logits, y))
    assert values.tolist() == pytest.approx(
        [slow(z, k, e) for z, k in zip(logits.tolist(), y, strict=True)], abs=1e-9
    )


def test_the_gradient_is_p_minus_q(fake_step, z):
    """The gradient is softmax(z) - q, so a finite margin, not an infinite one, is the best
    answer.
    """
    z.requires_grad_()
    LabelSmoothing(smoothing=0.2)(fake_step(z, [0])).sum().backward()
    q = torch.tensor([0.85, 0.05, 0.05, 0.05], dtype=torch.float64)
    assert torch.allclose(z.grad[0], z.detach().softmax(1)[0] - q, atol=1e-9)
    best = q.log()[None].requires_grad_()
    LabelSmoothing(smoothing=0.2)(fake_step(best, [0])).sum().backward()
    assert best.grad.abs().max() < 1e-12


def test_it_looks_at_the_inner_attack_when_there_is_one(fake_step, z, a):
    """With an inner attack the values are those of the adversarial logits."""
    loss = LabelSmoothing()
    assert loss(fake_step(z, [0], a, plain=False)).tolist() == loss(fake_step(a, [0])).tolist()


@pytest.mark.parametrize("y", [0, 1])
def test_huge_logits_are_finite(fake_step, y):
    """Logits of +-1e4 in float32 give finite values and gradients, and the value is the exact
    one.
    """
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = LabelSmoothing(smoothing=0.3)(fake_step(logits, [y]))
    value.sum().backward()
    assert value.item() == pytest.approx(
        [3000.0, 17000.0][y], rel=1e-5
    )  # 0.7 (1e4 - z_y) + 0.3 (1e4 - 0)
    assert torch.isfinite(logits.grad).all()


def test_zero_smoothing_is_cross_entropy(fake_step, z, a):
    """smoothing=0 is cross-entropy to the bit."""
    step = fake_step(torch.cat([z, a]), [0, 2])
    assert torch.equal(LabelSmoothing(smoothing=0.0)(step), CrossEntropy()(step))


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "x"])
def test_bad_options(value):
    """A share outside of [0, 1) is one line that names the option."""
    with pytest.raises(UserError, match="smoothing") as error:
        LOSSES.build(f"{SPEC}:smoothing={value}")
    assert "\n" not in str(error.value)


def test_the_contract():
    """It keeps what every loss must keep."""
    check_loss(SPEC)
    check_loss(f"{SPEC}:smoothing=0.5", classes=2)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits, without an inner attack."""
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}"
        " --epochs 4 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    assert pd.read_parquet(tmp_path / "models/m/epochs.parquet")["clean_accuracy"].iloc[-1] > 0.7
