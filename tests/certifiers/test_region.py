"""The set of inputs that is certified holds every input that an attack may return."""

from __future__ import annotations

import pytest
import torch

from robbench.certifiers.region import Region
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem, size_and_fits


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_point_that_fits_is_inside(norm):
    """Also at the edge of the tolerance; fixed entries stay; <w, x> is never below its bound."""
    torch.manual_seed(0)
    x0 = torch.rand(200, 6)
    free = torch.tensor([True] * 5 + [False])
    p = Problem.of(
        x0, torch.zeros(200, dtype=torch.int64), 0.3, find_norm(norm), free=free.expand(200, 6)
    )
    x = p.ball.on_sphere()
    assert size_and_fits(x, p)[1].all()
    region = Region.around(x0, 0.3, norm, free)
    assert (region.low <= x).all()
    assert (x <= region.high).all()
    assert torch.equal(region.low[:, 5], x0[:, 5].double())
    w = torch.randn(200, 4, 6, dtype=torch.float64)
    values = (w * x[:, None].double()).sum(2)
    assert (region.lowest(w) <= values + 1e-12).all()


def test_the_bound_is_reached():
    """In the box exactly, in l2 away from the box: x0 - eps w / ||w||."""
    x0, w = torch.full((1, 4), 0.5), torch.tensor([[[1.0, -2.0, 3.0, 0.0]]], dtype=torch.float64)
    linf, l2 = Region.around(x0, 0.1, "linf"), Region.around(x0, 0.1, "l2")
    assert linf.lowest(w).item() == pytest.approx(1.0 - linf.eps * 6)
    assert l2.lowest(w).item() == pytest.approx(1.0 - l2.eps * 14**0.5)
    assert Region.around(x0, 5.0, "l2").lowest(w).item() == -2  # the box is smaller than the ball
