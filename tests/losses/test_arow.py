"""ARoW and CoW: a transcription with plain numbers, what carries gradient, and what is left of them
without their parts.
"""

from __future__ import annotations

import math

import pytest
import torch

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.arow import ARoW, CoW
from robbench.losses.trades import TRADES, kl
from robbench.testing import check_loss

LOSSES_OF_PAPER = [ARoW, CoW]


def softmax(z):
    return [math.exp(v) / sum(map(math.exp, z)) for v in z]


def transcription(loss, z, z_adv, y, beta, smoothing):
    """One sample, by plain numbers."""
    p, q = softmax(z), softmax(z_adv)
    wanted = [smoothing / len(z) + (1 - smoothing) * (k == y) for k in range(len(z))]
    classification = -sum(w * math.log(v) for w, v in zip(wanted, p, strict=True))
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return classification + beta * divergence * (1 - (q if loss is ARoW else p)[y])


@pytest.mark.parametrize("loss", LOSSES_OF_PAPER)
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_transcription(fake_step, loss, classes, smoothing):
    """Right and wrong labels; the attack climbs the divergence, once."""
    generator = torch.Generator().manual_seed(classes)
    clean, adversarial = (
        3 * torch.randn(12, classes, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    y = [n % classes for n in range(12)]
    step = fake_step(clean, y, adversarial)
    expected = [
        transcription(loss, c, d, k, 4.5, smoothing)
        for c, d, k in zip(clean.tolist(), adversarial.tolist(), y, strict=True)
    ]
    values = loss(beta=4.5, smoothing=smoothing)(step)
    assert values.tolist() == pytest.approx(expected, rel=1e-10)
    assert step.asked == ["kl-from-clean"]


@pytest.mark.parametrize("loss", LOSSES_OF_PAPER)
def test_the_weight_carries_gradient(fake_step, loss, z, a):
    """As in the released code: differentiating it as a constant gives another gradient."""
    z, a = z.requires_grad_(), a.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, a: loss()(fake_step(z, [1], a)), (z, a))
    weighed = a if loss is ARoW else z
    weight = 1 - weighed.softmax(1)[:, 1]
    whole = torch.autograd.grad(loss(smoothing=0)(fake_step(z, [1], a)).sum(), weighed)[0]
    trades = TRADES(beta=0)(fake_step(z, [1], a))
    part = torch.autograd.grad(
        (trades + 6 * kl(z, a) * weight.detach()).sum(), weighed, retain_graph=True
    )[0]
    rest = torch.autograd.grad((6 * kl(z, a).detach() * weight).sum(), weighed)[0]
    assert torch.allclose(whole, part + rest)
    assert rest.abs().max() > 0.01


@pytest.mark.parametrize("loss", LOSSES_OF_PAPER)
def test_a_sample_that_is_hopeless_has_all_of_the_divergence(fake_step, loss):
    """Weight 1 where the label has no probability: TRADES with the same beta."""
    z, a = torch.tensor([[-60.0, 3.0, 1.0]]), torch.tensor([[-60.0, 1.0, 3.0]])
    step = fake_step(z, [0], a)
    assert torch.allclose(loss(smoothing=0)(step), TRADES()(step))


@pytest.mark.parametrize("loss", LOSSES_OF_PAPER)
def test_confident_models(fake_step, loss):
    """Logits of +-1e4 give finite values and gradients in float32."""
    z = torch.tensor([[1e4, -1e4, 0.0]] * 2, requires_grad=True)
    value = loss()(fake_step(z, [0, 1], z.detach() * torch.tensor([[1.0], [-1.0]]) + 0 * z))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", ["arow", "cow"])
def test_it_conforms(name):
    """The contract of every loss, and one line for options out of range."""
    for options in ("", ":beta=0", ":smoothing=0"):
        check_loss(name + options, 4)
    for bad in ("beta=-1", "smoothing=1"):
        with pytest.raises(UserError, match=bad.partition("=")[0]):
            LOSSES.build(f"{name}:{bad}")
