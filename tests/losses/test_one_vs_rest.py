"""One-versus-rest: a plain double loop, independence of the logits, and confident models."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from robbench.losses.one_vs_rest import OneVsRest, one_vs_rest
from robbench.testing import check_loss

SPEC = "robbench.losses.one_vs_rest:OneVsRest"


def slow(z, y):
    """The sum of binary logistic losses of one sample, class by class."""
    return sum(math.log1p(math.exp(-v if k == y else v)) for k, v in enumerate(z))


@pytest.mark.parametrize(
    ("which", "y", "value"),
    [("z", 0, 2.107414), ("z", 2, 3.607414), ("a", 0, 2.954563), ("a", 2, 2.454563)],
)
def test_the_vectors(fake_step, request, which, y, value):
    """The vectors, which sum over the four classes.

    Their other form is -z_y + sum_k softplus(z_k).
    """
    logits = request.getfixturevalue(which)
    assert OneVsRest()(fake_step(logits, [y])).tolist() == pytest.approx([value], abs=1e-5)
    other = float(-logits[0, y] + logits.exp().log1p().sum())
    assert other == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 7])
def test_a_plain_transcription(fake_step, classes):
    """Random logits give what the formula gives class by class, in double precision."""
    logits = 3 * torch.randn(
        6, classes, generator=torch.Generator().manual_seed(classes), dtype=torch.float64
    )
    y = [i % classes for i in range(6)]
    values = OneVsRest()(fake_step(logits, y))
    assert values.tolist() == pytest.approx(
        [slow(z, k) for z, k in zip(logits.tolist(), y, strict=True)], abs=1e-8
    )


def test_no_logit_sees_another(fake_step, z):
    """The gradient of each logit is sigmoid(z_k) - [k = y], whatever the others are.

    Softmax would couple them.
    """
    z.requires_grad_()
    one_vs_rest(z, torch.tensor([2])).sum().backward()
    assert torch.allclose(
        z.grad, z.detach().sigmoid() - torch.tensor([0, 0, 1.0, 0], dtype=torch.float64), atol=1e-12
    )


def test_it_looks_at_the_inner_attack_when_there_is_one(fake_step, z, a):
    """With an inner attack the value is that of the adversarial logits."""
    assert OneVsRest()(fake_step(z, [0], a, plain=False)).item() == pytest.approx(
        2.954563, abs=1e-5
    )
    assert OneVsRest()(fake_step(z, [0], a, plain=True)).item() == pytest.approx(2.107414, abs=1e-5)


def test_confident_models_keep_their_digits(fake_step):
    """In float32 a small loss is not lost in a difference of large logits, and +-1e4 stays
    finite.
    """
    values = OneVsRest()(fake_step(torch.tensor([[15.0, -15.0, -15.0]]), [0]))
    assert values.item() == pytest.approx(3 * math.log1p(math.exp(-15)), rel=1e-5)
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    values = OneVsRest()(fake_step(logits, [0, 1]))
    values.sum().backward()
    assert values.tolist() == pytest.approx([math.log(2), 2e4 + math.log(2)], rel=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_the_contract():
    """It keeps what every loss must keep."""
    check_loss(SPEC)
    check_loss(SPEC, classes=2)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits, without an inner attack."""
    done = cli(
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}"
        " --epochs 4 -n 400 --lr 0.02 --name m --out",
        tmp_path,
    )
    assert done.code == 0, done.err
    assert pd.read_parquet(tmp_path / "models/m/epochs.parquet")["clean_accuracy"].iloc[-1] > 0.7
