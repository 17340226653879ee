"""Bounds are never above what an attack, an enumeration or exact arithmetic finds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from robbench.certifiers.crown import CROWN
from robbench.certifiers.ibp import IBP
from robbench.certifiers.layers import Rectifier, linear
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import margin_weights

from .nets import attack, chain, exact_minimum, random_nets

METHODS = [IBP(), CROWN(inner="ibp"), CROWN()]
NETS = 1500


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("sizes", "slope"), [((3, 6, 3), 0.0), ((4, 7, 6, 4), 0.1)])
def test_never_certified_where_an_attack_succeeds(norm, sizes, slope):
    """Over thousands of nets each margin's bound is at most the smallest margin found."""
    network, x = random_nets(NETS, sizes, slope, seed=len(sizes))
    labels = network.values(x)[-1].argmax(1)
    for eps in (0.02, 0.2):
        region = Region.around(x, eps, norm)
        found = attack(network, region, margin_weights(labels, sizes[-1]))
        broken = found.amin(1) <= 0
        assert 0.005 < broken.double().mean() < 0.9
        for method in METHODS:
            low = method.lowest_margins(network, region, labels)
            assert (low <= found).all()
            certified = low.amin(1) > 0
            assert not (certified & broken).any()
            assert certified.any()  # or the test says nothing


@pytest.mark.parametrize("eps", [0.001, 0.1, 0.4])
def test_against_exact_minima_of_small_nets(eps):
    """Of five neurons on the plane no bound is above the minimum; where all is linear, equal."""
    draw = np.random.default_rng(0)
    tight = 0
    for _ in range(60):
        w1, b1 = draw.normal(size=(5, 2)), draw.normal(size=5) / 2
        w2, b2 = draw.normal(size=(3, 5)), draw.normal(size=3)
        network = chain(
            linear(torch.tensor(w1), torch.tensor(b1)),
            Rectifier(),
            linear(torch.tensor(w2), torch.tensor(b2)),
        )
        x = torch.tensor(draw.uniform(size=(1, 2)))
        region = Region.around(x, eps, "linf")
        label = network.values(x)[-1].argmax(1)
        spec = margin_weights(label, 3)[0].numpy()
        low, high = region.low[0].numpy(), region.high[0].numpy()
        exact = exact_minimum((w1, b1, spec @ w2, spec @ b2), low, high)
        bounds = [m.lowest_margins(network, region, label)[0].numpy() for m in METHODS]
        assert all((found <= exact + 1e-12).all() for found in bounds)
        if (
            np.abs(w1 @ x[0].numpy() + b1) > np.abs(w1).sum(1) * region.eps
        ).all():  # no neuron can switch
            tight += 1
            np.testing.assert_allclose(bounds[-1], exact, rtol=1e-9, atol=1e-9)
    assert tight or eps > 0.1


def test_rounding_is_paid_for():
    """At a point alone, with terms that cancel, no bound is above the value in exact arithmetic."""
    draw = torch.Generator().manual_seed(0)
    above = 0
    for _ in range(60):
        layers = []
        for fan_in, fan_out in ((4, 6), (6, 6), (6, 3)):
            weight = torch.randn(fan_out, fan_in, generator=draw, dtype=torch.float64) * 1e4
            layers += [linear(weight, weight[:, 0] * -0.7), Rectifier()]
        network = chain(*layers[:-1])
        x = torch.rand(1, 4, generator=draw, dtype=torch.float64)
        at_x = Region(x, x, x, torch.ones_like(x), 0.0, "linf")
        exact = [Fraction(value) for value in x[0].tolist()]
        for node in network.nodes:
            if isinstance(node.layer, Rectifier):
                exact = [max(value, Fraction(0)) for value in exact]
                continue
            bias = node.layer(torch.zeros(1, len(exact), dtype=torch.float64))[0].tolist()
            columns = torch.eye(len(exact), dtype=torch.float64)
            weight = node.layer.absolute(columns).T  # the sizes; signs from the whole map
            sign = torch.sign(node.layer(columns) - node.layer(torch.zeros_like(columns))).T
            rows = (weight * sign).tolist()
            exact = [
                Fraction(b) + sum(Fraction(w) * v for w, v in zip(row, exact, strict=True))
                for row, b in zip(rows, bias, strict=True)
            ]
        label = torch.tensor([0])
        true = [exact[0] - other for other in exact[1:]]
        for method in METHODS:
            low = method.lowest_margins(network, at_x, label)[0].tolist()
            assert all(Fraction(bound) <= value for bound, value in zip(low, true, strict=True))
            raw = method.margins(network, at_x, margin_weights(label, 3))[0].tolist()
            above += any(Fraction(bound) > value for bound, value in zip(raw, true, strict=True))
    assert above  # without the slack some would be


def test_a_sample_alone_has_the_same_bounds():
    """To rounding, bounds of a sample do not depend on those beside it."""
    network, x = random_nets(1, (4, 7, 6, 4))
    rows = torch.cat([x, x.flip(1), 1 - x])
    labels = torch.zeros(3, dtype=torch.int64)
    region = Region.around(rows, 0.1, "l2")
    for method in METHODS:
        together = method.lowest_margins(network, region, labels)
        for i in range(3):
            alone = Region.around(rows[i : i + 1], 0.1, "l2")
            (low,) = method.lowest_margins(network, alone, labels[:1])
            torch.testing.assert_close(low, together[i])
