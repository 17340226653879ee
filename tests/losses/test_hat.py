"""HAT: a transcription with its attack, and what is left of it without its parts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.hat import HAT
from robbench.losses.trades import TRADES
from robbench.testing import check_loss


def transcription(step, plain_pgd, beta, gamma, h):
    """The released code: TRADES' attack, the helper's label at x', its point not clipped."""
    model, x = step.model, step.x
    natural = model(x).softmax(1).detach()
    point = plain_pgd(
        step, lambda z: (natural * (natural.log() - z.log_softmax(1))).sum(1), gaussian=True
    )
    helper = step.teacher_forward.model.eval()
    wanted = helper(point).argmax(1)
    helper.train()
    clean, adversarial, beyond = model(x), model(point), model(x + h * (point - x))
    p = clean.softmax(1)
    divergence = (p * (p.log() - adversarial.log_softmax(1))).sum(1)
    return (
        -clean.log_softmax(1)[range(12), step.y]
        + beta * divergence
        - gamma * beyond.log_softmax(1)[range(12), wanted]
    ), wanted


@pytest.mark.parametrize(
    "options", [{}, {"beta": 1.0, "gamma": 2.0, "h": 3.5}, {"beta": 0.0, "gamma": 0.5, "h": 1.0}]
)
def test_it_is_the_transcription(taught_step, plain_pgd, same_as, options):
    """Ten queries of the attack and one to anchor it, three outputs, one question to the helper."""
    loss = HAT(**options)
    step = taught_step(loss)
    plain, wanted = transcription(step, plain_pgd, loss.beta, loss.gamma, loss.h)
    assert bool((wanted != step.y).any())
    values = loss(step)
    same_as(step, values, plain)
    outputs = 3  # none is at a point of another, also at h = 1
    assert (step.n_forward, step.n_backward) == ((11 + outputs + 1) * 12, (10 + outputs) * 12)


def test_without_the_helper_it_is_trades(taught_step):
    """At gamma = 0."""
    assert torch.allclose(
        HAT(beta=4, gamma=0)(taught_step(HAT())), TRADES(beta=4)(taught_step(TRADES()))
    )


def test_the_helper_is_asked_at_the_attacks_point(taught_step):
    """Not at the clean input, nor at the point beyond, and its answer is what is learnt there."""
    step, asked = taught_step(HAT()), []

    def helper(x):
        asked.append(x)
        return F.one_hot(torch.full((12,), 2), 4).float()

    step.teacher = helper
    only = HAT(beta=0, gamma=1)(step) - F.cross_entropy(step.clean.logits, step.y, reduction="none")
    x = step.adversary("kl-from-clean").x
    assert [point is x for point in asked] == [True]
    beyond = step.model(step.x + 2 * (x - step.x))
    assert torch.allclose(only, -beyond.log_softmax(1)[:, 2], atol=1e-5)


def test_it_conforms():
    """The contract of every loss, and one line for options out of range."""
    for options in ("", ":gamma=0", ":beta=0,h=1"):
        check_loss("hat" + options, 4)
    assert HAT().teacher == ""
    for bad in ("beta=-1", "gamma=-1", "h=0.5"):
        with pytest.raises(UserError, match=bad.partition("=")[0]):
            LOSSES.build(f"hat:{bad}")
