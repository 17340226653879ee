"""DyART: the gradient of the radius by finite differences, the formula by hand, and training."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional as F

from robbench.attacks.fab import FAB
from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.dyart import DyART
from robbench.models.base import Classifier, Output
from robbench.testing import check_loss
from robbench.threat.model import parse_threat
from robbench.training.boundary import Boundary
from robbench.training.inner import Inner
from robbench.training.notes import Notes
from robbench.training.step import TrainStep

DUAL = {"linf": 1, "l2": 2}
FINE = FAB(iterations=40, eta=1.001, beta=0.99)  # ends a hair beyond the boundary


def smooth_model():
    """Two inputs, three classes, all of which meet in the middle."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(2, 4), nn.Tanh())
    model = Classifier(nn.Identity(), body, nn.Linear(4, 3), features=4, classes=3)
    with torch.no_grad():
        body[0].weight.mul_(4)
        body[0].bias.copy_(-body[0].weight.sum(1) / 2)
        model.head.weight.mul_(4)
    return model.eval()


def step_of(model, x, y, eps=0.2, norm="linf", attack=FINE, progress=0.5, warmup=0.0):
    index = torch.arange(len(x))
    inner = Inner(attack, parse_threat(f"{norm}:{eps}")[0], warmup=warmup)
    return TrainStep(model, x, y, index, key=index, inner=inner, epoch=0, progress=progress)


def soft_margin(weights, x, y):
    """z_y - logsumexp(5 z_k) / 5 over the others, in numpy, of one input."""
    a, b, c, d = weights
    z = c @ np.tanh(a @ x + b) + d
    others = np.delete(z, y)
    return z[y] - np.log(np.exp(5 * others).sum()) / 5


def distance(weights, x, y, start, norm):
    """That of x to the zero of the soft margin, by a solver for constrained problems."""
    zero = {"type": "eq", "fun": lambda v: soft_margin(weights, x + v[:2], y)}
    d = start - x
    if norm == "l2":
        found = minimize(lambda v: v @ v, d, constraints=[zero], method="SLSQP", tol=1e-14)
        return math.sqrt(found.fun)
    inside = {"type": "ineq", "fun": lambda v: np.concatenate([v[2] - v[:2], v[2] + v[:2]])}
    first = np.append(d, np.abs(d).max())
    found = minimize(lambda v: v[2], first, constraints=[zero, inside], method="SLSQP", tol=1e-14)
    return found.fun


@pytest.mark.parametrize("norm", DUAL)
def test_the_gradient_is_that_of_the_radius(norm):
    """-exp(-decay R/eps) dR/dw / eps, with dR/dw by differences of a solver's distances."""
    model, loss, eps = smooth_model(), DyART(lam=1.0, decay=0.5, reach=10.0), 0.2
    grid = torch.linspace(0.3, 0.7, 5)
    x = torch.cartesian_prod(grid, grid)
    y = model(x).argmax(1)
    weights = [p.detach().double().numpy() for p in model.parameters()]
    assert [w.shape for w in weights] == [(4, 2), (4,), (3, 4), (3,)]
    checked = 0
    for n in range(len(x)):
        step = step_of(model, x[n : n + 1], y[n : n + 1], eps, norm)
        found = step.boundary(loss.margins)
        if not 0.02 < float(found.distance) < 0.25:
            continue  # the box is not to be met, nor rounding
        value = loss(step) - F.cross_entropy(model(x[n : n + 1]), y[n : n + 1])
        grads = torch.autograd.grad(value.sum(), list(model.parameters()))
        at, start = x[n].double().numpy(), found.x[0].double().numpy()
        r = distance(weights, at, int(y[n]), start, norm)
        assert float(found.distance) == pytest.approx(r, rel=0.01)
        cost = (math.exp(-0.5 * r / eps) - math.exp(-0.5 * 10)) / 0.5
        assert value.item() == pytest.approx(cost, rel=0.02)
        by_differences = []
        for w in weights:
            for place in np.ndindex(w.shape):
                ends = []
                for h in (1e-4, -1e-4):
                    w[place] += h
                    ends.append(distance(weights, at, int(y[n]), start, norm))
                    w[place] -= h
                by_differences.append((ends[0] - ends[1]) / 2e-4)
        expected = -math.exp(-0.5 * r / eps) / eps * np.array(by_differences)
        ours = torch.cat([g.flatten() for g in grads]).double().numpy()
        assert np.linalg.norm(ours - expected) < 0.03 * np.linalg.norm(expected)
        checked += 1
        if checked == 3:
            break
    assert checked == 3


class GivenStep(SimpleNamespace):
    """A step whose boundary is given; logits are a linear function of the points."""

    def at(self, x):
        return Output(self.model(x), x)

    def log(self, **values):
        self.logged = values

    def once(self, name, make):
        return make()

    def boundary(self, margins):
        return self.found

    @property
    def clean(self):
        return self.at(self.x)


def given(eps=0.1, progress=0.5):
    """Six samples: two that count, beyond, not found, out of reach, and without a gradient."""
    torch.manual_seed(0)
    distance = torch.tensor([0.05, 0.19, 0.0, torch.inf, 0.2, 0.05], dtype=torch.float64)
    slope = torch.tensor([2.0, 0.5, 3.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    x = torch.rand(6, 3, dtype=torch.float64)
    points = torch.rand(6, 3, dtype=torch.float64)
    return GivenStep(
        model=nn.Linear(3, 4).double(),
        x=x,
        y=torch.tensor([0, 1, 2, 3, 0, 1]),
        eps=eps,
        progress=progress,
        found=Boundary(points, distance, slope),
    )


def released(step, lam, alpha, r0):
    """[B] as in the released code, in its units, for samples that count: w and -phi(x_b)."""
    z = step.model(step.found.x)
    values = []
    for n, (r, slope, y) in enumerate(
        zip(step.found.distance.tolist(), step.found.slope.tolist(), step.y.tolist(), strict=True)
    ):
        entropy = F.cross_entropy(step.model(step.x[n : n + 1]), step.y[n : n + 1])
        others = torch.cat([z[n, :y], z[n, y + 1 :]])
        phi = z[n, y] - torch.logsumexp(5 * others, 0) / 5
        counts = 0 < r < r0 and slope > 0
        values.append(entropy - (lam * math.exp(-alpha * r) / slope * phi if counts else 0))
    return torch.stack(values)


def test_gradients_are_those_of_the_released_code():
    """With its numbers at 8/255: lam 1000, decay 3, reach 16/255, in pixels."""
    step = given(eps=8 / 255)
    distance = step.found.distance * (8 / 255) / 0.1
    step.found = step.found._replace(distance=distance)
    weights = list(step.model.parameters())
    ours = torch.autograd.grad(DyART()(step).sum(), weights)
    theirs = torch.autograd.grad(released(step, 1000, 3, 16 / 255).sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9)
    assert step.logged["boundary_counts"].tolist() == [1, 1, 0, 0, 0, 0]
    logged = [0.5, 1.9, 0, 2, 2, 0.5]
    assert step.logged["boundary_distance"].tolist() == pytest.approx([r * 8 / 255 for r in logged])


def test_values_by_hand():
    """Cross-entropy plus lam times the integral of exp(-decay r) from R to the reach."""
    step = given()
    loss = DyART(lam=2.0, decay=0.7, reach=2.0)
    for r, value, entropy in zip(
        [0.5, 1.9, 0.0, 2.0, 2.0, 0.5],
        loss(step).tolist(),
        F.cross_entropy(step.model(step.x), step.y, reduction="none").tolist(),
        strict=True,
    ):
        points = np.linspace(r, 2, 20001)
        assert value - entropy == pytest.approx(
            2 * np.trapezoid(np.exp(-0.7 * points), points), abs=1e-6
        )


def test_burn_in_and_no_budget():
    """Before the end of the burn-in, cross-entropy alone and no search; without a budget no
    gradient but its own, and finite.
    """
    step = given(progress=0.1)
    step.found = None
    expected = F.cross_entropy(step.model(step.x), step.y, reduction="none")
    assert torch.equal(DyART(burn_in=0.2)(step), expected)
    step = given(eps=0.0)
    weights = list(step.model.parameters())
    found = torch.autograd.grad(DyART()(step).sum(), weights)
    plain = torch.autograd.grad(
        F.cross_entropy(step.model(step.x), step.y, reduction="sum"), weights
    )
    for one, other in zip(found, plain, strict=True):
        assert torch.allclose(one, other)


def test_weight_perturbation_keeps_the_points():
    """The boundary is looked for once in a batch, also when other weights are asked for."""
    model = smooth_model()
    x = torch.rand(6, 2, generator=torch.Generator().manual_seed(1))
    step = step_of(model, x, model(x).argmax(1), attack=FAB(iterations=2))
    DyART()(step)
    again = step.again(Notes(6, x.device))
    DyART()(again)
    assert (step.n_forward, step.n_backward) == (6 * (4 + 2), 6 * (4 + 2))
    assert (again.n_forward, again.n_backward) == (6 * 2, 6 * 2)


@pytest.mark.parametrize("options", ["", ":lam=0", ":burn_in=1", ":reach=1,decay=1,sharpness=2"])
@pytest.mark.parametrize("classes", [2, 4])
def test_conformance(options, classes):
    """The suite that every loss has to pass."""
    check_loss(f"dyart{options}", classes)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits with growing distances, and the budget counts its steps."""
    line = (
        "train --data digits --model mlp:width=32,depth=1 --loss dyart --inner fab:iterations=4"
        " --epochs 6 -n 400 --lr 0.02 --threat linf:0.1 --name m --out"
    )
    done = cli(line, tmp_path)
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "models/m/epochs.parquet")
    assert table.iloc[-1].clean_accuracy > 0.5
    assert table.iloc[-1].n_forward == table.iloc[-1].n_backward == 360 * (8 + 2)
    distances = [json.loads(row)["boundary_distance"] for row in table.logs]
    assert distances[-1] > 2 * distances[1]


@pytest.mark.parametrize("option", ["lam=-1", "decay=0", "reach=0", "sharpness=0", "burn_in=2"])
def test_bad_options(option):
    """An option out of range is named."""
    with pytest.raises(UserError, match=option.partition("=")[0]):
        LOSSES.build(f"dyart:{option}")
