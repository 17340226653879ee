"""LBGAT: a transcription with its attack, and where it is zero."""

from __future__ import annotations

import pytest
import torch

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.lbgat import LBGAT
from robbench.testing import check_loss
from robbench.training.forward import Forward


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_it_is_the_transcription(taught_step, plain_pgd, same_as, beta):
    """The square as a mean over classes, at x' against x, and the divergence of TRADES."""
    loss = LBGAT(beta=beta)
    step = taught_step(loss)
    model, natural = step.model, step.model(step.x).softmax(1).detach()
    point = plain_pgd(
        step, lambda z: (natural * (natural.log() - z.log_softmax(1))).sum(1), gaussian=True
    )
    guide = step.teacher_forward.model.eval()
    wanted = guide(step.x).detach()
    guide.train()
    clean, adversarial = model(step.x), model(point)
    p = clean.softmax(1)
    divergence = (p * (p.log() - adversarial.log_softmax(1))).sum(1)
    plain = ((adversarial - wanted) ** 2).sum(1) / 4 + beta * divergence
    same_as(step, loss(step), plain)
    outputs = 2 if beta else 1
    assert (step.n_forward, step.n_backward) == ((11 + outputs + 1) * 12, (10 + outputs) * 12)


def test_a_model_that_is_its_own_guide_and_has_no_attack(taught_step):
    """Nothing is left to learn."""
    step = taught_step(LBGAT())
    step.teacher_forward = Forward(step.model)
    step.adversary = lambda objective: type("Found", (), {"x": step.x})
    assert torch.equal(LBGAT(beta=6)(step), torch.zeros(12))


def test_labels_have_no_part(taught_step):
    """Only through the teacher."""
    step = taught_step(LBGAT())
    values = LBGAT(beta=6)(step)
    assert torch.equal(LBGAT(beta=6)(step.relabelled((step.y + 1) % 4)), values)


def test_it_conforms():
    """The contract of every loss, and one line for options out of range."""
    for options in ("", ":beta=6"):
        check_loss("lbgat" + options, 4)
    assert LBGAT().teacher == ""
    with pytest.raises(UserError, match="beta"):
        LOSSES.build("lbgat:beta=-1")
