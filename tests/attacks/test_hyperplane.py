"""The way to a hyperplane in the box, against linear programs, a solver, the authors' code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize
from torch import Tensor

from robbench.attacks.hyperplane import to_hyperplane
from robbench.core.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = ["linf", "l2", "l1"]
ORDER = {"linf": float("inf"), "l2": 2, "l1": 1}
Vector = NDArray[np.float64]


def _smallest(x: Vector, w: Vector, gap: float, norm: str) -> float:
    """The smallest d with <w, d> = gap and x + d in the box, by a general solver."""
    n = len(x)
    if norm == "l2":
        start = _middle(x, w, gap)
        found = minimize(
            lambda d: float(d @ d),
            start,
            jac=lambda d: 2 * d,
            method="SLSQP",
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={"type": "eq", "fun": lambda d: w @ d - gap, "jac": lambda d: w},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert found.success, found.message
        return float(np.sqrt(found.fun))
    if norm == "l1":  # d = a - b
        found = linprog(
            np.ones(2 * n),
            A_eq=np.concatenate([w, -w])[None],
            b_eq=[gap],
            bounds=[(0, 1 - v) for v in x] + [(0, v) for v in x],
        )
    else:  # -s <= d_i <= s
        eye, ones = np.eye(n), np.ones((n, 1))
        found = linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=np.block([[eye, -ones], [-eye, -ones]]),
            b_ub=np.zeros(2 * n),
            A_eq=np.append(w, 0.0)[None],
            b_eq=[gap],
            bounds=[(-v, 1 - v) for v in x] + [(0, None)],
        )
    assert found.success, found.message
    return float(found.fun)


def _middle(x: Vector, w: Vector, gap: float) -> Vector:
    """Some d that is allowed: the same share of the way to every face."""
    whole = np.where(w * gap > 0, 1 - x, np.where(w * gap < 0, -x, 0.0))
    return np.asarray(whole * gap / (w @ whole))


def _cases(seed: int, rows: int, dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entries on faces, normals with zeros and unequal scale, gaps up to 95% of the possible."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(size=(rows, dimension))
    x[draw.uniform(size=x.shape) < 0.15] = 0.0
    x[draw.uniform(size=x.shape) < 0.15] = 1.0
    w = draw.normal(size=x.shape) * 10.0 ** draw.integers(-2, 2, size=(rows, 1))
    w[draw.uniform(size=x.shape) < 0.15] = 0.0
    up, down = np.maximum(w * (1 - x), -w * x).sum(1), np.minimum(w * (1 - x), -w * x).sum(1)
    share = draw.uniform(0.01, 0.95, size=rows)
    gap = share * np.where(draw.uniform(size=rows) < 0.5, up, down)
    return torch.from_numpy(x), torch.from_numpy(w), torch.from_numpy(gap)


def _size(d: Tensor, norm: str) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm(d, ord=ORDER[norm], dim=-1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dimension", [1, 2, 7, 12])
def test_it_is_the_smallest(norm: str, dimension: int) -> None:
    """On the hyperplane, in the box, and of the size that a linear program (l2: SLSQP) finds."""
    x, w, gap = _cases(dimension, 25, dimension)
    d = to_hyperplane(x, w, gap, norm)
    assert torch.allclose((w * d).sum(1), gap, rtol=1e-11, atol=1e-13)
    assert bool(((x + d >= 0) & (x + d <= 1)).all())
    for row in range(len(x)):
        if gap[row] != 0:
            best = _smallest(x[row].numpy(), w[row].numpy(), float(gap[row]), norm)
            assert float(_size(d[row], norm)) == pytest.approx(best, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_the_authors_find_the_same(norm: str) -> None:
    """The projections of pyautoattack give the same sizes, in float32 and many dimensions."""
    theirs: Any = pytest.importorskip("pyautoattack.fab_projections")
    x, w, gap = (part.float() for part in _cases(3, 40, 300))
    d = to_hyperplane(x, w, gap, norm)
    other = getattr(theirs, f"projection_{norm}")(x, w.clone(), gap + (w * x).sum(1))
    assert torch.allclose(_size(d, norm), _size(other, norm), rtol=2e-3)
    if norm != "linf":  # where theirs is exact to 1e-3 only
        assert torch.allclose(d, other, atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("times", [1.0001, 2.0, 1e30])
def test_out_of_reach_it_goes_all_the_way(norm: str, times: float) -> None:
    """A hyperplane beyond the box: to the corner on its side; weightless coordinates stay."""
    x, w, gap = _cases(5, 20, 9)
    up, down = torch.maximum(w * (1 - x), -w * x).sum(1), torch.minimum(w * (1 - x), -w * x).sum(1)
    d = to_hyperplane(x, w, times * torch.where(gap > 0, up, down), norm)
    toward = w.sign() * gap.sign()[:, None]
    assert torch.equal(
        d, torch.where(toward > 0, 1 - x, torch.where(toward < 0, -x, torch.zeros_like(x)))
    )


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_do(norm: str) -> None:
    """No gradient, no gap, no room, or no number: d is zero, and never NaN."""
    x, w, gap = _cases(6, 8, 5)
    nothing = torch.zeros_like(gap)
    for found in (
        to_hyperplane(x, torch.zeros_like(w), gap, norm),
        to_hyperplane(x, torch.zeros_like(w), nothing, norm),
        to_hyperplane(x, w, nothing, norm),
        to_hyperplane(x, w, nothing * torch.nan, norm),
        to_hyperplane((w > 0).double(), w.abs() * (w > 0) - w.abs() * (w <= 0), gap.abs(), norm),
    ):
        assert torch.equal(found, torch.zeros_like(x))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e12])
def test_only_the_direction_of_the_normal_counts(norm: str, scale: float) -> None:
    """In float32 too, where the squares of a saturated model's gradient are zero."""
    x, w, gap = (part.float() for part in _cases(7, 20, 30))
    d, scaled = to_hyperplane(x, w, gap, norm), to_hyperplane(x, w * scale, gap * scale, norm)
    assert float(_size(d, norm).min()) > 1e-4
    assert torch.allclose(d, scaled, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_small_gaps_keep_their_digits(norm: str) -> None:
    """A point close to the hyperplane has a way as exact as its gap, in float32."""
    x, w, gap = _cases(8, 20, 3000)
    gap = gap * 1e-6
    exact = to_hyperplane(x, w, gap, norm)
    d = to_hyperplane(x.float(), w.float(), gap.float(), norm).double()
    assert torch.allclose(_size(d, norm), _size(exact, norm), rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_small_weights_that_must_do_the_rest_keep_their_digits(norm: str) -> None:
    """With all large weights at their faces, the rest is no difference of large sums."""
    w = torch.ones(1, 100)
    w[0, :2] = 1e-5
    x = torch.full_like(w, 1 - 2.0**-10)
    x[0, :2] = torch.tensor([0.2, 0.0])
    d = to_hyperplane(x, w, torch.tensor([98 * 2.0**-10 + 1e-5]), norm)
    assert torch.equal(d[0, 2:], torch.full((98,), 2.0**-10))
    assert float(d[0, :2].sum()) == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_just_within_reach(norm: str) -> None:
    """In float32 a gap within roundings of the possible is met by going all the way."""
    x, w, _ = (part.float() for part in _cases(11, 400, 30))
    w = torch.where(w == 0, w, w.sign() * (0.5 + w.abs()))
    w[:, ::7] *= 1e-25  # too small to count
    gap = torch.maximum(w * (1 - x), -w * x).sum(1)
    for roundings in range(6):
        d = to_hyperplane(x, w, gap * (1 - roundings * 2.0**-24), norm)
        assert torch.allclose((w * d).sum(1), gap, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_do_not_see_each_other(norm: str, dtype: torch.dtype) -> None:
    """Bit for bit the same alone, among others, and with normals shared by several points."""
    x, w, gap = (part.to(dtype) for part in _cases(9, 17, 100))
    d = to_hyperplane(x, w, gap, norm)
    for row in range(len(x)):
        one = slice(row, row + 1)
        assert torch.equal(to_hyperplane(x[one], w[one], gap[one], norm), d[one])
    both = to_hyperplane(torch.stack([x.flip(0), x]), w, torch.stack([gap.flip(0), gap]), norm)
    assert torch.equal(both[1], d)
    assert torch.equal(both[0], to_hyperplane(x.flip(0), w, gap.flip(0), norm))


def test_other_norms_are_refused() -> None:
    """There is no such way in l0."""
    with pytest.raises(UserError, match="l0"):
        to_hyperplane(torch.rand(1, 2), torch.rand(1, 2), torch.rand(1), "l0")
