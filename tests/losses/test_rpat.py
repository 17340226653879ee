"""RPAT: a transcription, its bases, and that it vanishes where logits are linear on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
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
