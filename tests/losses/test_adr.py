"""ADR: a transcription with its attack, its labels by plain numbers, and their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.adr import ADR, annealed
from robbench.losses.base import AVERAGE
from robbench.testing import check_loss


def plain_labels(step, temperature, lam):
    """The released code's rectified labels, sample by sample in plain numbers."""
    teacher = step.teacher_forward.model.eval()
    with torch.no_grad():
        answers = teacher(step.x).tolist()
    teacher.train()
    labels = []
    for logits, y in zip(answers, step.y.tolist(), strict=True):
        exps = [math.exp(z / temperature) for z in logits]
        taught = [e / sum(exps) for e in exps]
        weight = min(max(lam - (max(taught) - taught[y]), 0.0), 1.0)
        labels.append([weight * t + (1 - weight) * (k == y) for k, t in enumerate(taught)])
    return torch.tensor(labels)


@pytest.mark.parametrize(
    ("progress", "temperature", "lam"),
    [(0.0, 2.5, 0.7), (0.5, 2.25, 0.825), (1.0, 2.0, 0.95), (1 / 3, 2.375, 0.7625)],
)
def test_it_is_the_transcription(taught_step, plain_pgd, same_as, progress, temperature, lam):
    """Labels along half a cosine, the attack on them, and cross-entropy at its points."""
    step = taught_step(ADR(), progress)
    labels = plain_labels(step, temperature, lam)
    assert torch.allclose(labels.sum(1), torch.ones(12))

    def soft(logits):
        return -(labels * logits.log_softmax(1)).sum(1)

    point = plain_pgd(step, soft, gaussian=False)
    values = ADR()(step)
    same_as(step, values, soft(step.model(point)))
    assert (step.n_forward, step.n_backward) == (12 * 12, 11 * 12)
    hard = F.cross_entropy(step.model(point), step.y, reduction="none")
    assert not torch.allclose(values, hard, atol=0.05)


def test_no_gradient_reaches_the_teacher(taught_step):
    """Its weights have none after a step, and it is in training mode again."""
    step = taught_step(ADR())
    ADR()(step).mean().backward()
    teacher = step.teacher_forward.model
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(module.training for module in teacher.modules())


def test_a_second_call_meets_the_same_points(taught_step):
    """As weight perturbation makes one: only the output at the points is new."""
    step = taught_step(ADR())
    values = ADR()(step)
    again = step.again(step.notes)
    assert torch.equal(ADR()(again), values)
    assert (again.n_forward, again.n_backward) == (12, 12)


def test_lam_of_none_is_adversarial_training(taught_step, plain_pgd):
    """No share of the teacher: the labels as they are."""
    loss = ADR(lam=0, last_lam=0)
    step = taught_step(loss)
    point = plain_pgd(step, lambda z: F.cross_entropy(z, step.y, reduction="none"), gaussian=False)
    plain = F.cross_entropy(step.model(point), step.y, reduction="none")
    assert torch.allclose(loss(step), plain, atol=1e-5)


def test_a_teacher_that_is_wrong_is_not_believed(taught_step):
    """Where it is sure of another class, the label stays hard; where it is right, lam softens it.

    Found by the labels' shares of the teacher, for a cold teacher.
    """
    loss = ADR(temperature=0.05, last_temperature=0.05, lam=0.7, last_lam=0.7)
    step = taught_step(loss)
    labels = loss.labels(step)
    right = step.teacher(step.x).argmax(1) == step.y
    lead = (step.teacher(step.x) / 0.05).softmax(1)
    lead = lead.amax(1) - lead.gather(1, step.y[:, None])[:, 0]
    assert 0 < int(right.sum()) < 12
    hard = F.one_hot(step.y, 4).float()
    assert torch.equal(labels[lead > 0.7], hard[lead > 0.7])
    assert int((lead > 0.7).sum()) > 0
    taught = (step.teacher(step.x) / 0.05).softmax(1)
    assert torch.allclose(labels[right], 0.7 * taught[right] + 0.3 * hard[right], atol=1e-6)


def test_it_anneals():
    """From the first to the last value, halfway in the middle."""
    assert annealed(2.5, 2.0, 0.0) == 2.5
    assert annealed(0.7, 0.95, 1.0) == pytest.approx(0.95)
    assert annealed(0.0, 1.0, 0.25) == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_it_conforms():
    """The contract of every loss, and one line for options out of range."""
    check_loss("adr", 4)
    check_loss("adr:temperature=1,last_temperature=1", 2)
    assert ADR().teacher == AVERAGE
    for bad in ("temperature=0", "last_temperature=-1", "lam=1.1", "last_lam=-0.1"):
        with pytest.raises(UserError, match=bad.partition("=")[0]):
            LOSSES.build(f"adr:{bad}")
