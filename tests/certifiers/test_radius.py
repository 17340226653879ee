"""Radii: the bisection, closed forms, small nets with exact radii, attacks inside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import ATTACKS
from robbench.certifiers.base import Certificate, Sample
from robbench.certifiers.crown import CROWN
from robbench.certifiers.ibp import IBP
from robbench.certifiers.radius import RESOLUTION, SMALLEST, with_largest_radius
from robbench.certifiers.substitution import margin_weights
from robbench.core.tiles import Tiles
from robbench.engine.lane import Job, Lane
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem
from robbench.threat.tolerance import largest_that_fits

from .nets import classifier, exact_minimum

METHODS = [IBP(), CROWN(inner="ibp"), CROWN()]
ROWS = 2


def sample(x, label, norm):
    return Sample(x[None], int(label), torch.tensor([0]), math.inf, norm)


def radius(prove, x, label, norm):
    return with_largest_radius(prove, sample(x, label, norm)).radius


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("limit", [0.0, 1e-5, 0.03, 0.4999, 0.99, 1.0, 5.0])
def test_the_largest_that_is_proven(norm, limit):
    """Of a method that proves up to a limit: within the resolution of it, and never above."""
    tried = {}

    def prove(one):
        tried[one.eps] = one.eps <= limit
        return Certificate(1, one.eps <= limit, None, None, 1)

    found = with_largest_radius(prove, sample(torch.zeros(4), 1, norm))
    whole = 1.0 if norm == "linf" else 2.0
    reached = min(limit, whole)
    assert reached / (1 + RESOLUTION) * (1 - 1e-12) <= found.radius <= reached
    assert tried.get(found.radius, found.radius == 0)
    assert found.certified == (limit >= whole) == (found.radius == whole)
    assert found.n_forward == len(tried) <= 15
    assert min(tried) > SMALLEST / 2


def test_nothing_is_proven_of_a_mistake():
    """One look shows it."""
    found = with_largest_radius(
        lambda one: Certificate(0, False, None, None, 1), sample(torch.zeros(4), 1, "l2")
    )
    assert found == Certificate(0, False, None, 0.0, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_has_its_radius_in_closed_form(norm):
    """The margin by the dual norm of its slope, where the box does not matter."""
    torch.manual_seed(1)
    model = classifier(nn.Flatten(), nn.Linear(9, 3), features=9, classes=3)
    x = 0.5 + 0.05 * torch.randn(12, 9)
    w, logits = model.head.weight.double(), model(x)
    labels = logits.argmax(1)
    pairs = margin_weights(labels, 3) @ w
    margins = margin_weights(labels, 3) @ (x.double() @ w.T + model.head.bias.double())[..., None]
    dual = pairs.abs().sum(2) if norm == "linf" else pairs.norm(dim=2)
    exact = (margins[..., 0] / dual).amin(1)
    inside = exact < 0.3  # then the box cuts nothing: 0.5 +- 0.05 * 4
    assert inside.sum() > 4
    for method in METHODS:
        prove = method.start(model, x)
        found = torch.tensor([radius(prove, *one, norm) for one in zip(x, labels, strict=True)])
        assert (largest_that_fits(found) <= exact * (1 + 1e-6))[inside].all()
        assert (largest_that_fits(found) * (1 + RESOLUTION) >= exact * (1 - 1e-6))[inside].all()


@pytest.mark.slow
def test_against_exact_radii_of_small_nets():
    """Of five neurons on the plane: never above; equal where no neuron can switch inside."""
    draw, equal, compared = np.random.default_rng(0), 0, 0
    for seed in range(60):
        torch.manual_seed(seed)
        layers = [nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)]
        nn.init.normal_(layers[0].weight)
        model = classifier(*layers, features=5, classes=3)
        x = torch.tensor(draw.uniform(size=2), dtype=torch.float32)
        label = model(x[None]).argmax(1)
        spec = margin_weights(label, 3)[0].numpy()
        w1, b1, w2, b2 = (
            t.double().numpy()
            for layer in (layers[0], layers[2])
            for t in (layer.weight, layer.bias)
        )
        at = x.double().numpy()
        below, above = 0.0, 1.0
        for _ in range(40):
            eps = (below + above) / 2
            low, high = (at - eps).clip(0, 1), (at + eps).clip(0, 1)
            kept = (exact_minimum((w1, b1, spec @ w2, spec @ b2), low, high) > 0).all()
            below, above = (eps, above) if kept else (below, eps)
        found = [radius(method.start(model, x[None]), x, label, "linf") for method in METHODS]
        assert all(largest_that_fits(size) <= above + 1e-9 or size == 1.0 for size in found)
        assert found[-1] >= found[0] * (1 - 1e-12) > 0
        if below < 1 - 1e-9 and (np.abs(w1 @ at + b1) > np.abs(w1).sum(1) * 1.01 * below).all():
            compared += 1
            equal += largest_that_fits(found[-1]) * (1 + RESOLUTION) >= below - 1e-9
    assert equal == compared > 5


def nets(seed, count):
    """Models of 3 inputs and 3 classes, each with inputs and their predictions."""
    for number in range(count):
        torch.manual_seed(1000 * seed + number)
        layers = [nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3)]
        for layer in layers[::2]:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        model = classifier(*layers, features=6, classes=3)
        x = torch.rand(ROWS, 3)
        yield model, x, model(x).argmax(1)


def attacked(spec, model, x, labels, eps, norm):
    """The worst points that an attack of ours finds with a budget for each row."""
    rows = torch.arange(len(x))
    p = Problem.of(x, labels, eps, NORMS[norm], key=rows * 1_000_003, logits0=model(x))
    lane = Lane(
        ATTACKS.build(spec),
        model,
        lambda jobs: p.take(torch.tensor([job.sample for job in jobs])),
        width=len(x),
        tiles=Tiles(ROWS, 1),
        device=torch.device("cpu"),
    )
    lane.queue.extend(Job(i, 0) for i in range(len(x)))
    points = x.clone()
    while lane.waiting:
        done = lane.step()
        for row, job in enumerate(done.jobs if done else ()):
            points[job.sample] = done.book.x[row]
    return points


def scattered(x, eps, norm, count=400):
    """[B,count,*]: random points of the balls, half of them on their edge, cut by the box."""
    d = torch.randn(len(x), count, x.shape[1], dtype=torch.float64)
    length = d.abs().amax(2) if norm == "linf" else d.norm(dim=2)
    far = torch.rand(len(x), count, dtype=torch.float64)
    far[:, ::2] = 1.0
    d = d * (far / length * eps.double()[:, None])[..., None]
    if norm == "linf":
        d[:, ::4] = d[:, ::4].sign() * eps.double()[:, None, None]
    return (x.double()[:, None] + d).clamp(0, 1)


@pytest.mark.few(2)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS, ids=["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("count", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_no_attack_finds_a_point_inside(count, method, norm):
    """Over many nets; just outside some do, or the test says nothing."""
    outside = 0
    for model, x, labels in nets(METHODS.index(method) + 3 * (norm == "l2"), count):
        prove = method.start(model, x)
        found = [radius(prove, *one, norm) for one in zip(x, labels, strict=True)]
        eps = torch.tensor(found)
        tries = [attacked(spec, model, x, labels, eps, norm)[:, None].double() for spec in SPECS]
        tries.append(scattered(x, eps, norm))
        precise = model.double()
        inside = precise(torch.cat(tries, 1).flatten(0, 1)).argmax(1).reshape(ROWS, -1)
        assert (inside == labels[:, None]).all()
        wide = precise(scattered(x, 3 * eps, norm).flatten(0, 1)).argmax(1).reshape(ROWS, -1)
        outside += (wide != labels[:, None]).any(1).sum()
    assert outside > count / 4


SPECS = ["pgd:steps=10", "apgd:steps=10"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_budget_up_to_the_radius_is_certified(norm):
    """By the same method: at the radius itself; of intervals, which only grow, at any below."""
    for method in METHODS:
        for model, x, labels in nets(9, 6):
            prove = method.start(model, x)
            for one in zip(x, labels, strict=True):
                size, asked = radius(prove, *one, norm), sample(*one, norm)
                assert prove(asked._replace(eps=size)).certified
                for share in (0.9, 0.5, 0.1) if method == IBP() else ():
                    assert prove(asked._replace(eps=share * size)).certified
                over = asked._replace(eps=size * (1 + RESOLUTION) * (1 + 1e-9))
                assert size == (1.0 if norm == "linf" else 3**0.5) or not prove(over).certified
