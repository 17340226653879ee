"""The ball a row may move in, cut by the box."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem, size_and_fits

pytestmark = pytest.mark.usefixtures("one_thread")


def _problem(name: str, x0: Tensor, eps: Tensor) -> Problem:
    rows = torch.arange(len(x0))
    return Problem(
        x0=x0,
        y=torch.zeros_like(rows),
        target=torch.full_like(rows, -1),
        eps=eps,
        key=rows * 7 + 1,
        index=rows,
        logits0=torch.zeros(len(x0), 3, dtype=x0.dtype),
        norm=NORMS[name],
    )


@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(NORMS)),
    st.sampled_from([(3,), (1, 2, 3)]),
    st.sampled_from([0.0, 1e-4, 0.3, 5.0]),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_everything_the_ball_gives_is_in_box_and_ball(
    seed: int, name: str, shape: tuple[int, ...], scale: float
) -> None:
    """project, ascend, inside and surface end in box and budget, from faces too (float32)."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(5, *shape, generator=generator)
    x0 = torch.where(torch.rand(5, *shape, generator=generator) < 0.3, x0.round(), x0)
    p = _problem(name, x0, scale * torch.rand(5, generator=generator))
    far = x0 + 3 * torch.randn(5, *shape, generator=generator)
    g = torch.randn(5, *shape, generator=generator)
    for x in (
        p.ball.project(far),
        p.ball.ascend(far, g, p.eps * 2),
        p.ball.uniform(),
        p.ball.on_sphere(),
    ):
        assert x.dtype == torch.float32
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
        order = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0, "l0px": 0}[name]
        size = torch.linalg.vector_norm((x.double() - x0.double()).flatten(1), ord=order, dim=1)
        assert bool((size <= p.eps.double() * (1 + 1e-5) + 1e-7).all())
        assert bool(size_and_fits(x, p)[1].all())


@pytest.mark.parametrize("name", sorted(NORMS))
def test_projection_leaves_inner_points_alone_and_is_idempotent(name: str) -> None:
    """A point already inside is kept to rounding, and projecting twice changes nothing more."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(20, 6, generator=generator, dtype=torch.float64)
    p = _problem(name, x0, torch.full((20,), 3 if NORMS[name].counts else 0.2, dtype=torch.float64))
    inner = p.ball.project(x0 + torch.randn(20, 6, generator=generator, dtype=torch.float64))
    assert torch.allclose(p.ball.project(inner), inner, rtol=0, atol=1e-15)


def test_linf_projection_is_the_nearest_point_of_the_cut_ball() -> None:
    """In linf, ball and box are one cuboid, whose nearest point is the coordinate-wise clip."""
    generator = torch.Generator().manual_seed(1)
    x0, far = torch.rand(50, 4, generator=generator), torch.randn(50, 4, generator=generator)
    eps = torch.rand(50, generator=generator)
    ours = _problem("linf", x0, eps).ball.project(far)
    assert torch.allclose(
        ours,
        torch.maximum(
            (x0 - eps[:, None]).clamp(min=0), torch.minimum(far, (x0 + eps[:, None]).clamp(max=1))
        ),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", sorted(NORMS))
def test_ascend_is_one_steepest_step(name: str) -> None:
    """Away from faces, ascend moves by the length in the norm along the gradient, per row."""
    x0 = torch.full((2, 3), 0.5, dtype=torch.float64)
    p = _problem(
        name, x0, torch.full((2,), 1.0 if NORMS[name].counts else 0.4, dtype=torch.float64)
    )
    g = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    units = {"linf": [[1, -1, 0], [0, 0, 1]], "l2": [[0.6, -0.8, 0], [0, 0, 1]]}
    unit = torch.tensor(units.get(name, [[0, -1, 0], [0, 0, 1]]), dtype=torch.float64)
    moved = p.ball.ascend(x0, g, torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert torch.allclose(moved, x0 + torch.tensor([[0.1], [0.2]]) * unit)


@pytest.mark.parametrize("name", ["l1", "l0", "l0px"])
def test_ascend_moves_the_entry_that_gains_most(name: str) -> None:
    """One entry just short of its face, one at it, one near: the fourth moves, though flattest.

    So it is for gradients too small to be multiplied, and a zero gradient moves nothing.
    """
    x0 = torch.tensor([[1.0 - 2**-24, 0.0, 0.95, 0.5]])
    ball = _problem(name, x0, torch.tensor([2.0])).ball
    for scale in (1.0, 1e-37, 1e-42):
        g = scale * torch.tensor([[4.0, -3.0, 2.0, 1.0]])
        assert ball.ascend(x0, g, torch.tensor([0.25]))[0].tolist() == [*x0[0, :3].tolist(), 0.75]
    assert torch.equal(ball.ascend(x0, torch.zeros(1, 4), torch.tensor([0.25])), x0)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_without_a_budget_only_the_box_holds(name: str) -> None:
    """With eps = inf, project clips to the box, random points spread, and no NaN arises."""
    generator = torch.Generator().manual_seed(3)
    x0 = torch.rand(4, 50, generator=generator)
    p = _problem(name, x0, torch.full((4,), torch.inf))
    far = x0 + torch.randn(4, 50, generator=generator)
    assert torch.allclose(p.ball.project(far), far.clamp(0, 1), rtol=0, atol=1e-6)
    for x in (
        p.ball.uniform(),
        p.ball.on_sphere(),
        p.ball.ascend(x0, torch.zeros(4, 50), p.eps),
        p.ball.ascend(x0, far, p.eps),
    ):
        assert bool(((x >= 0) & (x <= 1)).all())
        assert bool(size_and_fits(x, p)[1].all())
    assert float((p.ball.uniform() - x0).abs().mean()) > 0.1


def _cut_l1(x: NDArray[np.float64], x0: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """The nearest point of the cut l1 ball, by bisection for the multiplier s."""

    def shrunk(s: float) -> NDArray[np.float64]:
        return np.clip(x0 + np.sign(x - x0) * np.maximum(np.abs(x - x0) - s, 0), 0, 1)

    low, high = 0.0, float(np.abs(x - x0).max())
    if np.abs(shrunk(0) - x0).sum() <= eps:
        return shrunk(0)
    for _ in range(200):
        s = (low + high) / 2
        low, high = (s, high) if np.abs(shrunk(s) - x0).sum() > eps else (low, s)
    return shrunk(high)


def _on_faces(seed: int, rows: int, entries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean inputs with entries on faces, points in and out of the box, ties, and budgets."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(rows, entries, generator=generator, dtype=torch.float64)
    x0 = torch.where(torch.rand(rows, entries, generator=generator) < 0.3, x0.round(), x0)
    far = x0 + 10 ** (
        2 * torch.rand(rows, 1, generator=generator, dtype=torch.float64) - 1.5
    ) * torch.randn(rows, entries, generator=generator, dtype=torch.float64)
    far = torch.where(
        torch.rand(rows, entries, generator=generator) < 0.3, x0 + (far - x0).sign() / 4, far
    )
    return x0, far, entries * 0.3 * torch.rand(rows, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("entries", [1, 2, 7, 40])
def test_l1_projection_is_the_nearest_point_of_the_cut_ball(entries: int) -> None:
    """Equal to a bisection; no point makes an acute angle; the whole budget is used."""
    x0, far, eps = _on_faces(entries, 60, entries)
    p = _problem("l1", x0, eps)
    ours = p.ball.project(far)
    for row in range(60):
        expected = _cut_l1(far[row].numpy(), x0[row].numpy(), float(eps[row]))
        assert ours[row].numpy() == pytest.approx(expected, abs=1e-12)
    other = p.ball.project(p.ball.on_sphere() + 0.1 * torch.randn(60, entries, dtype=torch.float64))
    assert bool((((far - ours) * (other - ours)).sum(1) <= 1e-12).all())
    out = (far.clamp(0, 1) - x0).abs().sum(1) > eps
    assert 10 < int(out.sum()) < 60
    assert torch.allclose((ours - x0).abs().sum(1)[out], eps[out], rtol=1e-12)
    assert torch.equal(ours[~out], far.clamp(0, 1)[~out])
    if entries > 2:  # ball, then box: farther away
        lazy = (x0 + p.norm.project(far - x0, eps)).clamp(0, 1)
        assert bool(((lazy - far).norm(dim=1) > (ours - far).norm(dim=1) + 1e-3).any())


@pytest.mark.parametrize("seed", range(3))
def test_l1_projection_against_a_slow_solver(seed: int) -> None:
    """SLSQP, which is general, finds no nearer point of the cut ball, and the same one."""
    x0, far, eps = _on_faces(seed, 1, 4)
    signs = np.array(list(itertools.product((-1, 1), repeat=4)))
    solved = optimize.minimize(
        lambda z: ((z - far[0].numpy()) ** 2).sum(),
        x0[0].numpy(),
        bounds=[(0, 1)] * 4,
        constraints=[
            {"type": "ineq", "fun": lambda z: float(eps[0]) - signs @ (z - x0[0].numpy())}
        ],
        tol=1e-12,
    )
    ours = _problem("l1", x0, eps).ball.project(far)[0].numpy()
    assert ((ours - far[0].numpy()) ** 2).sum() <= solved.fun + 1e-9
    assert ours == pytest.approx(solved.x, abs=1e-5)


def test_l1_projection_against_the_authors() -> None:
    """The same points as AutoAttack's projection, up to its float32."""
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    x0, far, eps = (part.float() for part in _on_faces(9, 200, 30))
    ours = _problem("l1", x0, eps).ball.project(far)
    for row in range(200):
        a, b = x0[row : row + 1], far[row : row + 1]
        theirs = b + peer.L1_projection(a, b - a, float(eps[row]))
        assert torch.allclose(ours[row], theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("entries", [3072, 50_000])
@pytest.mark.parametrize("eps", [1e-4, 0.01, 1.0, 30.0])
def test_l1_budget_survives_the_rounding_of_many_small_entries(entries: int, eps: float) -> None:
    """In float32 a perturbation of thousands of rounded entries fits, summed in float64."""
    generator = torch.Generator().manual_seed(5)
    x0 = torch.rand(3, entries, generator=generator)
    p = _problem("l1", x0, torch.full((3,), eps))
    even = x0 + torch.tensor([[1e-3], [0.3], [-5.0]]) * (
        1 + 1e-3 * torch.rand(3, entries, generator=generator)
    )
    for x in (
        p.ball.project(even),
        p.ball.project(p.ball.project(even) + 1e-7),
        p.ball.on_sphere(),
    ):
        assert bool(((x.double() - x0.double()).abs().sum(1) <= eps * (1 + 1e-5) + 1e-7).all())
        assert bool(size_and_fits(x, p)[1].all())


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 5])
def test_l0_projection_is_the_nearest_point_of_the_cut_ball(budget: int) -> None:
    """No other choice of that many entries, moved up to the box, is nearer."""
    x0, far, _ = _on_faces(budget, 20, 5)
    ours = _problem("l0", x0, torch.full((20,), float(budget), dtype=torch.float64)).ball.project(
        far
    )
    assert bool(((ours != x0).sum(1) <= budget).all())
    best = torch.full((20,), torch.inf, dtype=torch.float64)
    for kept in itertools.combinations(range(5), budget):
        mask = torch.zeros(5, dtype=torch.bool)
        mask[list(kept)] = True
        best = torch.minimum(best, (torch.where(mask, far.clamp(0, 1), x0) - far).norm(dim=1))
    assert torch.allclose((ours - far).norm(dim=1), best, rtol=1e-12)


@pytest.mark.parametrize("draw", [lambda ball: ball.uniform(), lambda ball: ball.on_sphere()])
@pytest.mark.parametrize("name", sorted(NORMS))
def test_random_points_are_functions_of_the_rows_key(
    name: str, draw: Callable[..., Tensor]
) -> None:
    """A row's random point does not depend on its neighbours, and other keys give other points."""
    generator = torch.Generator().manual_seed(2)
    p = _problem(
        name,
        torch.rand(6, 5, generator=generator),
        torch.full((6,), 2.0 if NORMS[name].counts else 0.1),
    )
    whole = draw(p.ball)
    assert torch.equal(draw(p.take(torch.tensor([4, 1])).ball), whole[[4, 1]])
    shifted = draw(p.replace(key=p.key + 1).ball)
    assert bool((shifted != whole).flatten(1).any(1).all())


def test_fits_has_one_tolerance() -> None:
    """A size up to eps (1 + 1e-5) + 1e-7 fits; more, a step out of the box, or NaN does not."""
    x0 = torch.full((7, 1), 0.5, dtype=torch.float64)
    x0[4:6] = torch.tensor([[0.0], [1.0]])
    d = torch.tensor(
        [
            [0.1],
            [0.1 * (1 + 9e-6)],
            [-0.1 * (1 + 1e-5) - 1.5e-7],
            [torch.nan],
            [-1e-9],
            [1e-9],
            [0.0],
        ],
        dtype=torch.float64,
    )
    size, fits = size_and_fits(
        x0 + d, _problem("linf", x0, torch.full((7,), 0.1, dtype=torch.float64))
    )
    assert fits.tolist() == [True, True, False, False, False, False, True]
    assert size[0].item() == pytest.approx(0.1)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_points_are_overwritten_only_where_they_may_be(name: str) -> None:
    """Either way they are projected to the same points; a step leaves what it is given alone."""
    generator = torch.Generator().manual_seed(0)
    x0, x, g = torch.rand(3, 6, 2, 4, 4, generator=generator).unbind(0)
    p, before = _problem(name, x0, torch.full((6,), 0.3)), (x0.clone(), x.clone(), g.clone())
    projected = p.ball.project(x)
    p.ball.ascend(x, g, p.eps)
    assert all(torch.equal(a, b) for a, b in zip((x0, x, g), before, strict=True))
    assert torch.equal(p.ball.project(x, overwrite=True), projected)
    assert torch.equal(x0, before[0])
