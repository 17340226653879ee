"""RPAT: a transcription, its bases, and that it vanishes where logits are linear on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.base import AVERAGE
from robbench.losses.mart import MART
from robbench.losses.rpat import RPAT
from robbench.losses.trades import TRADES
from robbench.models.base import Output
from robbench.testing import check_loss

BASES = {"cross-entropy": None, "trades": TRADES(), "mart": MART()}


class PathStep:
    """A model of inputs [B,D] and an adversary at a given distance."""

    epoch, progress = 0, 0.5

    def __init__(self, model, x, point, y):
        self.model, self.x, self.point, self.y, self.asked = model, x, point, y, []

    @property
    def clean(self):
        return self.at(self.x)

    def at(self, x):
        logits = self.model(x)
        return Output(logits, logits)

    def adversary(self, objective=None):
        self.asked.append(objective)
        return type("Found", (), {"x": self.point})


def make(curved=True, classes=4):
    torch.manual_seed(0)
    model = nn.Linear(3, classes)
    if curved:
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, classes))
    x = torch.randn(6, 3, dtype=torch.float64)
    point = x + torch.randn(6, 3, dtype=torch.float64)
    return PathStep(model.double(), x, point, torch.arange(6) % classes)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("r", [0.5, 0.2])
def test_it_is_the_base_and_the_gap(base, r):
    """By numpy: lam times the mean square of the logits' distance from the straight line."""
    step = make()
    values = RPAT(base=base, r=r, lam=0.7)(step)
    with torch.no_grad():
        z, a, m = (
            step.model(x).numpy() for x in (step.x, step.point, r * step.x + (1 - r) * step.point)
        )
    gap = ((m - (r * z + (1 - r) * a)) ** 2).mean(1)
    assert gap.max() > 1e-5
    plain = (
        BASES[base](step)
        if BASES[base]
        else F.cross_entropy(torch.tensor(a), step.y, reduction="none")
    )
    assert np.allclose(values.detach().numpy(), plain.detach().numpy() + 0.7 * gap, rtol=1e-9)
    assert step.asked[0] == ("kl-from-clean" if base == "trades" else None)


@pytest.mark.parametrize("base", BASES)
def test_a_linear_model_changes_evenly(base):
    """Nothing is added, whatever the weight."""
    step = make(curved=False)
    assert torch.allclose(RPAT(base=base, lam=100)(step), RPAT(base=base, lam=0)(step))


def test_gradients_flow_through_all_three():
    """Those of the formula written out."""
    step = make()
    weights = [*step.model.parameters()]
    found = torch.autograd.grad(RPAT()(step).sum(), weights)
    z, a = step.model(step.x), step.model(step.point)
    m = step.model((step.x + step.point) / 2)
    by_hand = F.cross_entropy(a, step.y, reduction="none") + ((m - z / 2 - a / 2) ** 2).mean(1)
    for one, other in zip(found, torch.autograd.grad(by_hand.sum(), weights), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("options", ["", ":base=trades", ":base=mart,lam=2,r=0.3"])
def test_it_conforms(options):
    """The contract of every loss, and one line for options out of range."""
    check_loss(f"rpat{options}", 4)
    for bad in ("lam=-1", "r=0", "r=1", "base=alp"):
        with pytest.raises(UserError, match=bad.partition("=")[0]):
            LOSSES.build(f"rpat:{bad}")


@pytest.mark.parametrize("r", [0.5, 0.2])
@pytest.mark.parametrize("base", ["cross-entropy", "trades"])
def test_the_average_teaches_what_is_between(taught_step, plain_pgd, same_as, base, r):
    """RPAT++ by plain torch: the divergence of what the teacher gains on the way from what the
    model has at the end of it, on top of RPAT; two questions to the teacher.
    """
    loss = RPAT(base=base, r=r, beta=3.0)
    step, without = taught_step(loss), taught_step(loss)
    model, teacher, y = step.model, step.teacher_forward.model, step.y
    natural = model(step.x).log_softmax(1).detach()
    climbed = (
        (lambda z: (natural.exp() * (natural - z.log_softmax(1))).sum(1))
        if base == "trades"
        else lambda z: -z.log_softmax(1)[range(12), y]
    )
    x = plain_pgd(step, climbed, gaussian=base == "trades")
    middle = r * step.x + (1 - r) * x
    teacher.eval()
    with torch.no_grad():
        gained = (teacher(middle) - r * teacher(step.x)).softmax(1)
    teacher.train()
    z, a, m = model(step.x), model(x), model(middle)
    p, q = z.log_softmax(1), a.log_softmax(1)
    plain = -q[range(12), y]
    if base == "trades":
        plain = -p[range(12), y] + 6 * (p.exp() * (p - q)).sum(1)
    plain = plain + ((m - r * z - (1 - r) * a) ** 2).sum(1) / 4
    end = ((1 - r) * a).log_softmax(1)
    same_as(step, loss(step), plain + 3 * (gained * (gained.log() - end)).sum(1))
    RPAT(base=base, r=r)(without)
    assert step.n_forward == without.n_forward + 2 * 12
    assert step.n_backward == without.n_backward


def test_only_the_form_with_a_teacher_has_one():
    """Its average of the weights, unless another is named."""
    assert RPAT().teacher is None
    assert RPAT(beta=0.5).teacher == AVERAGE
    check_loss("rpat:beta=0.5", 4)
    with pytest.raises(UserError, match="beta"):
        LOSSES.build("rpat:beta=-1")


@pytest.mark.parametrize(
    ("base", "inner", "climbs"),
    [
        ("cross-entropy", "pgd:steps=10", None),
        ("trades", TRADES.inner, "kl-from-clean"),
        ("mart", MART.inner, None),
    ],
)
def test_the_inner_attack_is_that_of_the_base(base, inner, climbs):
    """Its start, and what it climbs."""
    assert (RPAT(base=base).inner, RPAT(base=base).climbs) == (inner, climbs)
