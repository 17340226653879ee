"""Pixels of all channels together, against every choice of pixels; entries alone elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = NORMS["l0px"]
SHAPE = (3, 2, 2)


def _draw(seed: int, rows: int = 12) -> tuple[Tensor, Tensor]:
    """Clean images, many entries on a face of the box, and points in and out of it."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(rows, *SHAPE, generator=generator, dtype=torch.float64)
    x0 = torch.where(torch.rand(rows, *SHAPE, generator=generator) < 0.3, x0.round(), x0)
    return x0, x0 + torch.randn(rows, *SHAPE, generator=generator, dtype=torch.float64)


def _choices(count: int) -> list[Tensor]:
    """[1,H,W] masks of every choice of so many pixels."""
    masks = []
    for chosen in itertools.combinations(range(4), count):
        mask = torch.zeros(4, dtype=torch.bool)
        mask[list(chosen)] = True
        masks.append(mask.reshape(1, 2, 2))
    return masks


def test_a_pixel_counts_once_in_whatever_colours_it_changes() -> None:
    """A change of any of the three entries is one, and of no image each entry is one."""
    d = torch.zeros(2, *SHAPE)
    d[0, :, 0, 1] = torch.tensor([0.1, 0.0, -0.2])
    d[0, 2, 1, 1] = 1e-30
    d[1] = 1
    assert PIXELS.size(d).tolist() == [2, 4]
    assert NORMS["l0"].size(d).tolist() == [3, 12]
    for shape in [(12,), (4, 3)]:
        assert PIXELS.size(d.reshape(2, *shape)).tolist() == [3, 12]


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("seed", range(3))
def test_projections_are_the_nearest_points(count: int, seed: int) -> None:
    """No choice of so many pixels is nearer, in the ball alone nor in ball and box."""
    x0, far = _draw(seed)
    eps = torch.full((len(x0),), count + 0.5, dtype=torch.float64)
    for ours, moved in (
        (x0 + PIXELS.project(far - x0, eps), far),
        (PIXELS.project_boxed(far, x0, eps), far.clamp(0, 1)),
    ):
        points = torch.stack([torch.where(mask, moved, x0) for mask in _choices(count)])
        best = (points - far).flatten(2).norm(dim=2).amin(0)
        assert torch.allclose((ours - far).flatten(1).norm(dim=1), best, rtol=1e-12)
        assert bool(((ours != x0).any(1).flatten(1).sum(1) <= count).all())


def test_the_steepest_pixel_in_the_cube_is_the_best_of_all() -> None:
    """Of all pixels moved to the corners of the cube [-1,1], where a linear function is largest."""
    _, g = _draw(7)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=g.dtype)
    gains = torch.einsum("kc,nchw->nkhw", corners, g)
    assert torch.allclose(PIXELS.dual(g), gains.flatten(1).amax(1))
    d = PIXELS.steepest(g)
    assert PIXELS.size(d).tolist() == [1] * len(g)
    assert torch.allclose((g * d).flatten(1).sum(1), PIXELS.dual(g))


@pytest.mark.parametrize("budget", [0.0, 1.0, 3.0])
def test_fixed_entries_of_a_pixel_stay(budget: float) -> None:
    """A pixel of which one colour is free counts as one, and only that colour moves."""
    x0, far = _draw(9)
    free = torch.ones(SHAPE, dtype=torch.bool)
    free[1:] = False
    p = Problem.of(x0, torch.zeros(len(x0), dtype=torch.long), budget, PIXELS)
    p = p.replace(free=free.expand_as(x0))
    g = far - x0
    for x in (p.ball.project(far), p.ball.uniform(), p.ball.ascend(x0, g, p.eps)):
        assert torch.equal(x[:, 1:], x0[:, 1:])
        assert bool(((x != x0).any(1).flatten(1).sum(1) <= budget).all())
        assert bool(((x >= 0) & (x <= 1)).all())


def test_one_step_moves_the_pixel_that_gains_most_up_to_its_faces() -> None:
    """Of a linear function, by trying each pixel with the corners that the box leaves."""
    x0, g = _draw(11)
    p = Problem.of(x0, torch.zeros(len(x0), dtype=torch.long), 1.0, PIXELS)
    moved = p.ball.ascend(x0, g, torch.ones_like(p.eps)) - x0
    for row in range(len(x0)):
        room = np.where(g[row] > 0, 1 - x0[row], x0[row])
        gains = (np.abs(g[row].numpy()) * room).sum(0)
        assert float((g[row] * moved[row]).sum()) == pytest.approx(gains.max())


def test_small_entries_are_told_apart() -> None:
    """Also where their squares are zero in float32."""
    d = torch.tensor([[1e-30, 3e-30, -2e-30]])
    for name in ("l0", "l0px"):
        assert NORMS[name].project(d, torch.tensor([2.0])).tolist() == [[0, d[0, 1], d[0, 2]]]
