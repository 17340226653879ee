"""The geometry of each norm, against closed forms and a general solver."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from robbench.core import norms as names
from robbench.threat.norms import NORMS, Norm

pytestmark = pytest.mark.usefixtures("one_thread")

ORDERS = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0, "l0px": 0.0}
DUALS = {"linf": 1.0, "l2": 2.0, "l1": math.inf, "l0": math.inf, "l0px": math.inf}
CONVEX = ["linf", "l2", "l1"]
SHAPES = st.sampled_from([(1,), (5,), (2, 3), (1, 4, 4)])


@pytest.fixture(params=sorted(NORMS))
def norm(request: pytest.FixtureRequest) -> Norm:
    """Each norm in turn."""
    return NORMS[request.param]


@st.composite
def _points(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Two batches of points [B,*] of mixed magnitudes, float64, and budgets [B], also zero."""
    rows, shape, seed = draw(st.integers(1, 4)), draw(SHAPES), draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (
        4 * torch.rand(rows, *[1] * len(shape), generator=generator, dtype=torch.float64) - 2
    )
    a, b = (
        scale * torch.randn(rows, *shape, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    eps = torch.rand(rows, generator=generator, dtype=torch.float64)
    return a, b, torch.where(torch.rand(rows, generator=generator) < 0.2, 0.0, eps)


def _length(row: Tensor, order: float) -> float:
    return float(np.linalg.norm(row.flatten().numpy(), order))


@given(_points())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_size_and_dual(points: tuple[Tensor, Tensor, Tensor]) -> None:
    """`size` and dual of each row are numpy's vector norms of the right orders."""
    for name, norm in NORMS.items():
        for row in range(len(points[0])):
            assert norm.size(points[0])[row].item() == pytest.approx(
                _length(points[0][row], ORDERS[name])
            )
            assert norm.dual(points[0])[row].item() == pytest.approx(
                _length(points[0][row], DUALS[name])
            )


@given(_points())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_projection_is_inside_idempotent_and_non_expansive(
    points: tuple[Tensor, Tensor, Tensor],
) -> None:
    """P(a) has size <= eps, P(P(a)) = P(a), inside points stay, and P is nonexpansive."""
    a, b, eps = points
    for name, norm in NORMS.items():
        pa, pb = norm.project(a, eps), norm.project(b, eps)
        assert bool((norm.size(pa) <= eps * (1 + 1e-12)).all())
        assert torch.allclose(norm.project(pa, eps), pa, rtol=1e-12, atol=0)
        assert torch.equal(norm.project(a, norm.size(a)), a)
        for row in range(len(a)) if name in CONVEX else ():
            assert _length(pa[row] - pb[row], 2) <= _length(a[row] - b[row], 2) * (1 + 1e-12)


@given(_points())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_projection_satisfies_the_obtuse_angle_criterion(
    points: tuple[Tensor, Tensor, Tensor],
) -> None:
    """<d - P(d), z - P(d)> <= 0 for every z of the ball: optimality for a convex set."""
    d, other, eps = points
    for norm in (NORMS[name] for name in CONVEX):
        p = norm.project(d, eps)
        # The best z is known in closed form: eps times the steepest direction along d - P(d), here
        # by brute force of Hoelder.
        worst = eps * torch.tensor(
            [_length(row, DUALS[norm.name]) for row in d - p], dtype=d.dtype
        ) - ((d - p) * p).flatten(1).sum(1)
        assert bool((worst <= 1e-9 * (1 + (d * d).flatten(1).sum(1))).all())
        assert bool(
            (
                ((d - p) * (norm.project(other, eps) - p)).flatten(1).sum(1)
                <= 1e-9 * (1 + (d * d).flatten(1).sum(1))
            ).all()
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CONVEX)
def test_projection_against_a_slow_solver(name: str, seed: int) -> None:
    """The nearest point by SLSQP, which is general, is no nearer and the same."""
    norm = NORMS[name]
    generator = torch.Generator().manual_seed(seed)
    d = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    eps = 0.6
    target = d[0].numpy()
    if norm.name == "linf":
        limits = [
            {"type": "ineq", "fun": lambda z: eps - z},
            {"type": "ineq", "fun": lambda z: eps + z},
        ]
    elif norm.name == "l1":  # one smooth limit for each choice of signs
        signs = np.array(list(itertools.product((-1, 1), repeat=4)))
        limits = [{"type": "ineq", "fun": lambda z: eps - signs @ z}]
    else:
        limits = [{"type": "ineq", "fun": lambda z: eps**2 - z @ z}]
    solved = optimize.minimize(
        lambda z: ((z - target) ** 2).sum(), np.zeros(4), constraints=limits, tol=1e-12
    )
    ours = norm.project(d, torch.tensor([eps], dtype=torch.float64))[0].numpy()
    assert ((ours - target) ** 2).sum() <= solved.fun + 1e-9
    assert ours == pytest.approx(solved.x, abs=1e-5)


@given(_points())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_steepest_attains_the_dual_norm(points: tuple[Tensor, Tensor, Tensor]) -> None:
    """steepest(g) has size 1 and <g, steepest(g)> = dual(g), exceeded by no random point."""
    g, other, _ = points
    one = torch.ones(len(g), dtype=torch.float64)
    for norm in NORMS.values():
        d = norm.steepest(g)
        assert torch.allclose(norm.size(d), one, rtol=1e-12)
        assert torch.allclose((g * d).flatten(1).sum(1), norm.dual(g), rtol=1e-12)
        assert norm.counts or bool(
            ((g * norm.project(other, one)).flatten(1).sum(1) <= norm.dual(g) * (1 + 1e-12)).all()
        )


@pytest.mark.parametrize("exponent", [-44, -40, -38, -30, -20, 0, 20, 30, 38])
def test_steepest_of_tiny_and_huge_gradients(norm: Norm, exponent: int) -> None:
    """Directions of float32 gradients of 1e-40 to 1e38 are unit and point the right way."""
    pattern = torch.tensor([[3.0, -1.0, 2.0, 0.0], [1.0, 1.0, -1.0, 1.0]], dtype=torch.float64)
    g = (pattern / 4 * 10.0**exponent).to(torch.float32)
    d = norm.steepest(g).double()
    kept = g.double() / g.double().abs().amax(1, keepdim=True)  # what float32 kept of the pattern
    first = torch.nn.functional.one_hot(torch.tensor([0, 0]), 4)
    expected = {"linf": kept.sign(), "l2": kept / kept.norm(dim=1, keepdim=True)}.get(
        norm.name, kept.sign() * first
    )
    assert torch.allclose(d, expected, atol=1e-6)
    assert torch.allclose(norm.size(d), torch.ones(2, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_gradient_gives_zero(norm: Norm, dtype: torch.dtype) -> None:
    """Where the gradient is zero so is the direction, never NaN; neighbours are unaffected."""
    g = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-0.0, 0.0]], dtype=dtype)
    assert torch.equal(
        norm.steepest(g), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=dtype)
    )


def test_projection_of_zero_and_to_zero(norm: Norm) -> None:
    """The zero perturbation stays zero for every budget; a zero budget gives zero."""
    d = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -2.0]])
    eps = torch.tensor([0.0, 1.0, 0.0])
    assert torch.equal(norm.project(d, eps).abs(), torch.zeros(3, 2))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_points_lie_inside_and_on_the_surface(
    norm: Norm, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """uniform() stays in the unit ball, on_sphere() on its surface, by the key alone.

    In l0 and l0px, whose balls have no bounds, both fill the cube instead.
    """
    keys = torch.arange(500)
    inside, surface = (
        norm.uniform(keys, torch.Size(shape), dtype),
        norm.on_sphere(keys, torch.Size(shape), dtype),
    )
    for points in (inside, surface):
        assert points.shape == (500, *shape)
        assert points.dtype == dtype
    if norm.counts:
        assert float(torch.cat([inside, surface]).abs().max()) <= 1
    else:
        assert float(norm.size(inside).max()) <= 1 + 1e-6
        assert torch.allclose(norm.size(surface), torch.ones(500, dtype=dtype), atol=1e-6)
    for rows in (100, 101, 137, 499):  # some that vector instructions take, and the last, alone
        one = keys[rows : rows + 1]
        assert torch.equal(norm.uniform(one, torch.Size(shape), dtype)[0], inside[rows])
        assert torch.equal(norm.on_sphere(one, torch.Size(shape), dtype)[0], surface[rows])


def test_radii_do_not_depend_on_how_many_are_drawn() -> None:
    """Of one key and shape, in any part of many: torch's pow rounds the last of a tensor alone."""
    keys, shape = torch.arange(1000), torch.Size((12,))
    for dtype in (torch.float32, torch.float64):
        whole = NORMS["l2"].uniform(keys, shape, dtype)
        for width in (1, 3, 7, 13):
            parts = [NORMS["l2"].uniform(part, shape, dtype) for part in keys.split(width)]
            assert torch.equal(torch.cat(parts), whole)


def test_points_inside_are_uniform(norm: Norm) -> None:
    """Radius^D is uniform, every coordinate symmetric: exact laws of a uniform ball."""
    points = norm.uniform(torch.arange(20_000), torch.Size((3,)), torch.float64)
    radius = NORMS["linf" if norm.counts else norm.name].size(points)
    assert stats.kstest((radius**3).numpy(), "uniform").pvalue > 0.001
    for axis in range(3):
        if norm.name == "linf" or norm.counts:
            assert stats.kstest(points[:, axis].numpy(), "uniform", args=(-1, 2)).pvalue > 0.001
        elif norm.name == "l1":  # one coordinate of a 3-ball has density 3/2 (1 - |x|)^2
            law = stats.kstest(
                points[:, axis].numpy(),
                lambda x: np.where(x < 0, (1 + x) ** 3, 2 - (1 - x) ** 3) / 2,
            )
            assert law.pvalue > 0.001
        else:  # one coordinate of a 3-ball has density 3/4 (1 - x^2)
            assert (
                stats.kstest(points[:, axis].numpy(), lambda x: (2 + 3 * x - x**3) / 4).pvalue
                > 0.001
            )


def test_surface_directions_are_isotropic_in_l2() -> None:
    """One coordinate of a uniform point of the 2-sphere is uniform on [-1, 1] (Archimedes)."""
    points = NORMS["l2"].on_sphere(torch.arange(5_000), torch.Size((3,)), torch.float64)
    for axis in range(3):
        assert stats.kstest(points[:, axis].numpy(), "uniform", args=(-1, 2)).pvalue > 0.001


def test_surface_of_l1_is_uniform() -> None:
    """Without signs a uniform point of the simplex: density 2 (1 - x) for one of three."""
    points = NORMS["l1"].on_sphere(torch.arange(5_000), torch.Size((3,)), torch.float64)
    for axis in range(3):
        assert (
            stats.kstest(points[:, axis].abs().numpy(), lambda x: 1 - (1 - x) ** 2).pvalue > 0.001
        )
        assert stats.binomtest(int((points[:, axis] < 0).sum()), 5_000).pvalue > 0.001


def test_no_budget_is_no_bound(norm: Norm) -> None:
    """An infinite ball holds every point: projection changes no bit, in any batch."""
    d = torch.tensor([[0.0, -3.0, 1e30], [0.5, 2.0, -1.0]])
    p = norm.project(d, torch.tensor([torch.inf, 1.0]))
    assert torch.equal(p[0], d[0])
    assert float(norm.size(p)[1]) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("eps", "expected"),
    [
        (0.0, [0, 0, 0, 0, 0]),
        (0.99, [0, 0, 0, 0, 0]),
        (1.0, [0, -3, 0, 0, 0]),
        (2.9, [0, -3, 2, 0, 0]),
        (3.0, [0, -3, 2, -2, 0]),
        (4.0, [0, -3, 2, -2, 2]),
        (9.0, [1, -3, 2, -2, 2]),
        (math.inf, [1, -3, 2, -2, 2]),
    ],
)
def test_l0_keeps_the_largest_entries(eps: float, expected: list[float]) -> None:
    """The floor(eps) largest entries survive; of ties the first, never one too many."""
    d = torch.tensor([[1.0, -3.0, 2.0, -2.0, 2.0]])
    assert NORMS["l0"].project(d, torch.tensor([eps])).tolist() == [expected]


def test_one_entry_is_steepest_where_entries_tie() -> None:
    """In l1, l0 and, of no image, l0px the first of the largest entries moves alone."""
    g = torch.tensor([[1.0, -2.0, 2.0, -2.0]])
    for name in ("l1", "l0", "l0px"):
        assert NORMS[name].steepest(g).tolist() == [[0, -1, 0, 0]]


def test_the_names_that_need_no_torch_are_those_of_the_norms() -> None:
    assert set(names.NORMS) == set(NORMS)
    assert set(names.COUNTS) == {norm.name for norm in NORMS.values() if norm.counts}
