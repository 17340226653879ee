"""DDN against a transcription of algorithm 1 of arXiv:1811.09600: one sample, numpy, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.ddn import DDN
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(5)
U, V, C = 2 * _draw.normal(size=(9, 12)), _draw.normal(size=(4, 9)), _draw.normal(size=4)
X0 = np.clip(_draw.uniform(-0.6, 1.6, size=(5, 12)), 0, 1)  # about half the entries on a face


def _logits(x: Vector) -> Vector:
    return V @ np.tanh(U @ (x - 0.5)) + C


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


def plain_ddn(
    x0: Vector, y: int, steps: int, gamma: float, init: float
) -> tuple[list[Vector], list[bool]]:
    """Every point that is looked at, and which of them are adversarial."""
    points, hits = [x0], []
    delta, radius = np.zeros_like(x0), init
    farthest = np.sqrt((np.maximum(x0, 1 - x0) ** 2).sum())
    for k in range(steps + 1):
        z = _logits(points[-1])
        hits.append(int(z.argmax()) != y)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        dz = p - np.eye(len(z))[y]  # of the cross-entropy
        g = U.T @ ((1 - np.tanh(U @ (points[-1] - 0.5)) ** 2) * (V.T @ dz))
        alpha = 0.01 + (1 - 0.01) * (1 + math.cos(math.pi * k / steps)) / 2
        delta = delta + alpha * g / np.sqrt((g**2).sum())
        radius = min(radius * (1 - gamma if hits[-1] else 1 + gamma), farthest)
        points.append(np.clip(x0 + radius * delta / np.sqrt((delta**2).sum()), 0, 1))
        delta = points[-1] - x0
    return points[: steps + 1], hits


def _trace(attack: Any, p: Any) -> tuple[Tensor, ModelOracle]:
    """[steps + 1, B, D]: every point that is looked at; and the oracle with its books."""
    s, t, oracle, book = (
        attack.start(p),
        torch.zeros_like(p.y),
        ModelOracle(_model, Tiles(8, 8)),
        blank_book(p),
    )
    points = []
    for _ in range(attack.steps + 1):
        points.append(attack.point(s))
        oracle.bind(p, book, t, torch.ones_like(t, dtype=torch.bool), attack.steps)
        s, t = attack.step(s, t, p, oracle), t + 1
        book = oracle.book
    return torch.stack(points), oracle


@pytest.fixture
def rows(problem: Callable[..., Any]) -> Any:
    """Five rows without a budget."""
    x0 = torch.from_numpy(X0)
    return problem(
        _model, x0, _model(x0).argmax(1), torch.full((5,), torch.inf, dtype=torch.float64), "l2"
    )


@pytest.mark.parametrize(
    ("steps", "gamma", "init"), [(40, 0.05, 1.0), (25, 0.2, 0.1), (30, 0.05, 4.0)]
)
def test_trajectory(steps: int, gamma: float, init: float, rows: Any) -> None:
    """All points are those of the plain transcription, while the box cuts some of them."""
    points, oracle = _trace(DDN(steps=steps, gamma=gamma, init=init), rows)
    assert float(((points == 0) | (points == 1)).any(2)[1:].double().mean()) > 0.9
    for row in range(5):
        plain, hits = plain_ddn(X0[row], int(rows.y[row]), steps, gamma, init)
        assert np.abs(points[:, row].numpy() - np.stack(plain)).max() < 1e-10
        best = min(
            np.sqrt(((x - X0[row]) ** 2).sum()) for x, hit in zip(plain, hits, strict=True) if hit
        )
        assert float(oracle.book.size[row]) == pytest.approx(best, abs=1e-10)
    assert oracle.book.n_forward.tolist() == [steps + 1] * 5
    assert oracle.book.n_backward.tolist() == [steps] * 5


def test_polish_bisects_the_way_to_the_nearest_point(rows: Any) -> None:
    """The first moves are those without polish; then each halves the way, without a gradient."""
    plain, _ = _trace(DDN(steps=24), rows)
    points, oracle = _trace(DDN(steps=30, polish=6), rows)
    assert torch.equal(points[:25], plain)
    assert oracle.book.n_backward.tolist() == [24] * 5
    assert oracle.book.n_forward.tolist() == [31] * 5
    for row in range(5):
        x0 = rows.x0[row]
        hits = [x for x in plain[:, row] if int(_model(x[None]).argmax()) != int(rows.y[row])]
        top = min(hits, key=lambda x: float((x - x0).norm()))
        low, high = 0.9, 1.0
        for x in points[25:, row]:
            middle = (low + high) / 2
            assert torch.allclose(x, x0 + middle * (top - x0), atol=1e-12)
            low, high = (
                (low, middle)
                if int(_model(x[None]).argmax()) != int(rows.y[row])
                else (middle, high)
            )
        assert float(oracle.book.size[row]) == pytest.approx(
            high * float((top - x0).norm()), abs=1e-12
        )


def test_points_are_not_rounded(rows: Any) -> None:
    """No 256 levels, unlike the authors' default: distances are those of the model's own input."""
    points, _ = _trace(DDN(steps=10), rows)
    inner = points[1:][(points[1:] > 0) & (points[1:] < 1)]
    assert float((255 * inner - (255 * inner).round()).abs().mean()) > 0.1


def test_a_zero_gradient_leaves_the_row_where_it_is(problem: Callable[..., Any]) -> None:
    """No direction and no NaN."""
    x0 = torch.full((2, 4), 0.5)
    p = problem(
        lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2),
        x0,
        torch.zeros(2, dtype=torch.int64),
        torch.full((2,), torch.inf),
        "l2",
    )
    attack, t = DDN(steps=3), torch.zeros(2, dtype=torch.int64)
    s = attack.start(p)
    for k in range(4):
        oracle = ModelOracle(lambda x: x[:, :2] * 0 + torch.tensor([1.0, 0.0]), Tiles(8, 8))
        oracle.bind(p, blank_book(p), t + k, torch.ones(2, dtype=torch.bool), 3)
        s = attack.step(s, t + k, p, oracle)
        assert torch.equal(s.x, x0)
