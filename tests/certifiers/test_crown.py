"""Linear bounds: never below interval bounds, tighter with linear bounds inside."""

from __future__ import annotations

import pytest
import torch

from robbench.certifiers.crown import CROWN
from robbench.certifiers.ibp import IBP
from robbench.certifiers.network import Interval
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import lowest, margin_weights

from .nets import random_nets


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_at_least_as_tight_as_intervals(norm):
    """And much tighter on average, more so where what rectifiers read is bounded by lines."""
    network, x = random_nets(300, (5, 8, 8, 8, 4))
    labels = network.values(x)[-1].argmax(1)
    region = Region.around(x, 0.3, norm)
    loose, middle, tight = (
        method.lowest_margins(network, region, labels)
        for method in (IBP(), CROWN(inner="ibp"), CROWN())
    )
    assert (middle >= loose).all()
    assert (tight >= loose).all()
    assert tight.mean() > middle.mean() + 0.05 > loose.mean() + 0.1


def test_one_layer_of_rectifiers_by_hand():
    """Two neurons on [-1,1]^2, of x + y and x - y, each between -2 and 2: chords of slope 1/2.

    -relu(x+y) - relu(x-y) >= -(x+y)/2 - 1 - (x-y)/2 - 1 = -x - 2 >= -3; the truth is -2.
    """
    from robbench.certifiers.layers import Rectifier, linear

    from .nets import chain

    first = linear(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), None)
    network = chain(first, Rectifier(), linear(torch.tensor([[-1.0, -1.0]]), None))
    x = torch.zeros(1, 2, dtype=torch.float64)
    region = Region(x, x - 1, x + 1, torch.ones_like(x), 1.0, "linf")
    wide = torch.full((1, 2), 2.0, dtype=torch.float64)
    bounds = [Interval(region.low, region.high), Interval(-wide, wide), Interval(0 * wide, wide)]
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    assert lowest(network, 3, one, bounds, region).item() == -3
    assert lowest(network, 3, one, bounds, region, through=False).item() == -4


def test_linear_networks_are_bounded_exactly():
    """Without a rectifier a margin falls by eps times the dual norm of its weights."""
    network, x = random_nets(50, (6, 3))
    x = 0.4 + 0.2 * x  # far from the box
    labels = torch.zeros(50, dtype=torch.int64)
    spec = margin_weights(labels, 3)
    w, _ = network.nodes[0].layer.back(spec, x.shape[1:])
    margins = (spec @ network.values(x)[-1][..., None])[..., 0]
    for norm, dual in (("linf", 1), ("l2", 2)):
        region = Region.around(x, 0.1, norm)
        expected = margins - region.eps * torch.linalg.vector_norm(w, ord=dual, dim=2)
        for method in (IBP(), CROWN()):
            torch.testing.assert_close(method.lowest_margins(network, region, labels), expected)


@pytest.mark.parametrize("slope", [0.1, 0.7, 0.9])
def test_at_a_single_point_lines_are_the_network(slope):
    """Slopes that float32 does not hold are as exact as all else."""
    network, x = random_nets(200, (5, 8, 8, 4), slope)
    values = network.values(x)
    spec = margin_weights(values[-1].argmax(1), 4)
    region = Region(x, x, x, torch.ones_like(x), 0.0, "linf")
    found = lowest(network, len(values) - 1, spec, [Interval(v, v) for v in values], region)
    margins = (spec @ values[-1][..., None])[..., 0]
    torch.testing.assert_close(found, margins, rtol=0, atol=1e-12)
