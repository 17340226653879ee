"""The way to a boundary: exact distances of linear margins, and a transcription in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robbench.attacks.fab import FAB
from robbench.attacks.pgd import PGD
from robbench.models.base import Classifier
from robbench.objectives import margins, soft_margins
from robbench.testing import toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.step import NoInnerAttackError, TrainStep

WEIGHTS = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.0, 0.25])
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def step_of(model, x, y, attack, norm="linf", mode="eval", free=None):
    index = torch.arange(len(x))
    inner = Inner(attack, parse_threat(f"{norm}:0.1")[0], mode, free=free)
    return TrainStep(model, x, y, index, key=index, inner=inner, epoch=0, progress=0.5)


def linear():
    """Two classes; the margin of class 1 is <WEIGHTS, x>."""
    head = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.stack([-WEIGHTS, WEIGHTS]) / 2)
    return Classifier(nn.Identity(), nn.Identity(), head, features=6, classes=2).eval()


@pytest.mark.parametrize("norm", DUAL)
def test_linear_margins(norm):
    """Found is the margin over the dual norm of the weights, from above; 0 where x is beyond."""
    x = 0.5 + torch.tensor([[0.01], [0.05], [-0.02]]) * WEIGHTS
    step = step_of(linear(), x, torch.ones(3, dtype=torch.long), FAB(iterations=20), norm)
    dual = float(torch.linalg.vector_norm(WEIGHTS, DUAL[norm]))
    x_margin = x @ WEIGHTS
    found = step.boundary(margins)
    exact = x_margin / dual
    assert bool((found.distance[:2] > exact[:2] * (1 - 1e-5)).all())
    assert bool((found.distance[:2] < exact[:2] * 1.01).all())
    assert float(x_margin[2]) > 0  # as the middle of the box is on the far side
    assert torch.allclose(found.slope, torch.full((3,), dual))
    assert bool((found.x @ WEIGHTS < 0).all())
    beyond = step_of(linear(), x, torch.zeros(3, dtype=torch.long), FAB(iterations=3), norm)
    here = beyond.boundary(margins)
    assert here.distance.tolist() == [0, 0, 0]
    assert torch.equal(here.x, x)


def test_fixed_entries_and_the_box():
    """Entries that are not free stay, so the rest goes farther; no point leaves the box."""
    x = torch.full((1, 6), 0.5)
    free = torch.tensor([False, True, True, False, True, False])
    model, y, seen = linear(), torch.ones(1, dtype=torch.long), []
    model.body.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    whole = step_of(model, x, y, FAB(iterations=10)).boundary(margins)
    part = step_of(model, x, y, FAB(iterations=10), free=free).boundary(margins)
    assert torch.equal(part.x[0, ~free], x[0, ~free])
    dual = float(WEIGHTS[free].abs().sum())
    assert float(part.slope) == pytest.approx(dual)
    assert float(part.distance) == pytest.approx(float(x @ WEIGHTS) / dual, rel=0.01)
    assert float(whole.distance) < float(part.distance)
    edge = torch.tensor([[0.0, 1.0, 0.4, 0.0, 1.0, 0.0]])  # the first two can only go away
    only = WEIGHTS.clone().abs()
    step_of(model, edge, y, FAB(iterations=10)).boundary(lambda z, y: z[:, 1] * 0 + z @ only[:2])
    assert min(float(p.min()) for p in seen) >= 0
    assert max(float(p.max()) for p in seen) <= 1


def test_none_in_reach():
    """A margin that is positive everywhere, and one without gradient: inf, and the inputs."""
    x, y = torch.full((2, 6), 0.5), torch.ones(2, dtype=torch.long)
    for positive in (lambda z, y: 1 + z[:, 1] ** 2, lambda z, y: torch.ones_like(z[:, 0])):
        found = step_of(linear(), x, y, FAB(iterations=4)).boundary(positive)
        assert found.distance.tolist() == [torch.inf] * 2
        assert torch.equal(found.x, x)
        assert found.slope.tolist() == [0, 0]


def projected(x, w, gap):
    """The d of smallest maximum with <w, d> = gap and x + d in the box, by bisection."""
    sign = np.sign(w) * np.sign(gap)
    room = np.where(sign > 0, 1 - x, x) * (w != 0)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.sum(np.abs(w) * np.minimum(middle, room)) >= abs(gap)
        low, high = (low, middle) if enough else (middle, high)
    return sign * np.minimum(high, room)


def transcription(ask, x0, queries):
    """FAB's walk across one boundary in Linf, of one sample [D] in float64."""
    x, best, size = x0.copy(), x0.copy(), np.inf
    for _ in range(queries):
        value, gradient = ask(x)
        if value < 0:
            if np.abs(x - x0).max() < size:
                best, size = x.copy(), np.abs(x - x0).max()
            x = x0 + 0.9 * (x - x0)
            continue
        d1 = projected(x, gradient, -value)
        d2 = projected(x0, gradient, -value + gradient @ (x - x0))
        near, far = np.abs(d1).max(), np.abs(d2).max()
        alpha = min(near / max(near + far, 1e-30), 0.1)
        x = np.clip((1 - alpha) * (x + 1.05 * d1) + alpha * (x0 + 1.05 * d2), 0, 1)
    return best, size


def test_it_is_the_transcription():
    """Points, distances and slopes are those of one sample after the other, and are counted."""
    split, model = toy_split(16), toy_model().eval()
    x = split.pixels(slice(None))
    step = step_of(model, x, split.labels, FAB(iterations=3))
    found = step.boundary(soft_margins)
    assert (step.n_forward, step.n_backward) == (16 * 6, 16 * 6)
    kinds = set()
    for n in range(16):

        def ask(point, n=n):
            leaf = torch.tensor(point, dtype=torch.float32).reshape(x[:1].shape).requires_grad_()
            value = soft_margins(model(leaf), split.labels[n : n + 1])
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return float(value.detach()), gradient.double().numpy().ravel()

        point, size = transcription(ask, x[n].double().numpy().ravel(), 6)
        assert found.distance[n].item() == pytest.approx(size, abs=1e-5)
        if size < np.inf:
            assert np.allclose(found.x[n].numpy().ravel(), point, atol=1e-5)
            slope = np.abs(ask(point)[1]).sum()
            assert found.slope[n].item() == pytest.approx(slope, rel=1e-3)
        kinds.add("none" if size == np.inf else "beyond" if size == 0 else "found")
    assert kinds >= {"beyond", "found"}


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_model_is_left_as_it_was(mode):
    """It runs in the mode of the inner attack; mode, buffers, flags and gradients are put back."""
    body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 8), nn.Tanh())
    model = Classifier(nn.Identity(), body, nn.Linear(8, 4), features=8, classes=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, split = [], toy_split(8)
    body.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    step_of(model, split.pixels(slice(None)), split.labels, FAB(iterations=2), mode=mode).boundary(
        margins
    )
    assert modes == [mode == "train"] * 4
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_only_fab_goes_there():
    """Another inner attack, or none, is named."""
    split, model = toy_split(4), toy_model()
    step = step_of(model, split.pixels(slice(None)), split.labels, PGD(steps=2))
    with pytest.raises(NoInnerAttackError, match="fab:iterations=20"):
        step.boundary(margins)
