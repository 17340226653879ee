"""The adapter for auto_LiRPA: the package where it is installed, else a stand-in of linear maps."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import CERTIFIERS
from robbench.certifiers.base import Sample
from robbench.core.errors import UserError
from robbench.models.base import Classifier
from robbench.threat.tolerance import largest_that_fits


def classifier(body: nn.Module, features: int, classes: int = 3) -> Classifier:
    torch.manual_seed(0)
    head = nn.Linear(features, classes)
    model = Classifier(nn.Identity(), body, head, features=features, classes=classes)
    return model.eval().requires_grad_(False)


def sample(x, label, eps, norm, free=None):
    return Sample(x, label, torch.zeros(1, dtype=torch.int64), eps, norm, free)


class Bounded:
    """`BoundedModule` of affine maps: bounds by the dual norm, from values of the map alone."""

    def __init__(self, module, x, device):
        self.module, self.zeros = module, x

    def __call__(self, x):
        return self.module(x)

    def compute_bounds(self, x, C, method, bound_upper):
        assert method == "CROWN"
        (point, ball), n = x[0], self.zeros.numel()
        at = self.module(self.zeros)
        units = torch.eye(n, dtype=torch.float64).view(n, *self.zeros.shape[1:])
        w = C[0] @ (self.module(units) - at).T
        b = C[0] @ at[0]
        if ball.norm == 2:
            return (w @ point.flatten() + b - ball.eps * w.norm(dim=1))[None], None
        low, high = ball.x_L.flatten(), ball.x_U.flatten()
        return (w.clamp(min=0) @ low + w.clamp(max=0) @ high + b)[None], None


@pytest.fixture
def package(monkeypatch):
    """A stand-in with the package's names."""
    stand_in = SimpleNamespace(
        BoundedModule=Bounded,
        BoundedTensor=lambda x, ball: (x, ball),
        PerturbationLpNorm=lambda **given: SimpleNamespace(**given),
    )
    monkeypatch.setitem(sys.modules, "auto_LiRPA", stand_in)


def test_linear_models_in_closed_form(package):
    """The smallest margin over the ball and the box, in both norms and with fixed entries."""
    model, x = classifier(nn.Flatten(), 4), torch.tensor([[[0.5, 0.05, 0.9, 0.4]]])
    label = int(model(x).argmax())
    prove = CERTIFIERS.build("auto-lirpa").start(model, x)
    logits = model(x)[0].double()
    rest = [k for k in range(3) if k != label]
    w = model.head.weight.double()
    w = w[label] - w[rest]
    eps = largest_that_fits(0.1)
    point = x.flatten().double()
    down, up = point.clamp(max=eps), (1 - point).clamp(max=eps)
    slack = 1e-6 * logits.abs().max()

    def expected(moved):
        return float((logits[label] - logits[rest] - moved).min() - slack)

    linf = w.clamp(min=0) * down - w.clamp(max=0) * up
    found = prove(sample(x, label, 0.1, "linf"))
    assert found.margin_low == pytest.approx(expected(linf.sum(1)), abs=1e-6)
    assert found.certified == (found.margin_low > 0)
    free = torch.tensor([[True, False, True, True]])
    kept = prove(sample(x, label, 0.1, "linf", free))
    assert kept.margin_low == pytest.approx(expected(linf[:, [0, 2, 3]].sum(1)), abs=1e-6)
    ball = prove(sample(x, label, 0.1, "l2"))
    assert ball.margin_low == pytest.approx(expected(eps * w.norm(dim=1)), abs=1e-6)
    with pytest.raises(UserError, match="no fixed entries in l2"):
        prove(sample(x, label, 0.1, "l2", free))
    wrong = prove(sample(x, rest[0], 0.1, "linf"))
    assert (wrong.predicted, wrong.certified, wrong.margin_low) == (label, False, None)


def test_models_that_it_reads_otherwise_are_refused(package, monkeypatch):
    """Margins are compared first; what the package raises is one line."""
    model, x = classifier(nn.Flatten(), 4), torch.rand(2, 1, 4)
    monkeypatch.setattr(Bounded, "__call__", lambda self, x: self.module(x) * 2)
    with pytest.raises(UserError, match="do not give its logits"):
        CERTIFIERS.build("auto-lirpa").start(model, x)
    monkeypatch.setattr(Bounded, "__call__", lambda self, x: 1 / 0)
    with pytest.raises(UserError, match=r"auto_LiRPA cannot read this model: .*division"):
        CERTIFIERS.build("auto-lirpa").start(model, x)


def test_without_the_package(monkeypatch):
    """One line says what to do."""
    monkeypatch.setitem(sys.modules, "auto_LiRPA", None)
    with pytest.raises(UserError, match="install it from its repository, or take --method crown"):
        CERTIFIERS.build("auto-lirpa").start(classifier(nn.Flatten(), 4), torch.rand(1, 1, 4))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bounds", ["ibp", "crown", "alpha-crown"])
def test_the_package_itself_is_sound_and_near_our_bounds(bounds, norm):
    """Below the smallest margin of many points of the region, and no worse than our intervals."""
    pytest.importorskip("auto_LiRPA", reason="auto_LiRPA is not installed: a checkout on the path")
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh())
    for seed in range(3):
        torch.manual_seed(seed)
        model, x = classifier(body, 6), torch.rand(1, 1, 4)
        label = int(model(x).argmax())
        prove = CERTIFIERS.build(f"auto-lirpa:bounds={bounds}").start(model, x)
        found = prove(sample(x, label, 0.05, norm))
        away = torch.rand(2000, 1, 4) * 2 - 1
        size = away.norm(dim=2, keepdim=True) if norm == "l2" else away.abs().amax(2, keepdim=True)
        z = model((x + 0.05 * away / size).clamp(0, 1))
        others = z.clone()
        others[:, label] = -math.inf
        assert found.margin_low <= (z[:, label] - others.amax(1)).min()
        assert found.margin_low > -1
