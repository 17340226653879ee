"""FMN against a transcription of algorithm 1 of arXiv:2102.12827: one sample, numpy, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from robbench.attacks.fmn import FMN
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(8)
U, V, C = 2 * _draw.normal(size=(9, 12)), _draw.normal(size=(4, 9)), _draw.normal(size=4)
X0 = np.clip(_draw.uniform(-0.6, 1.6, size=(5, 12)), 0, 1)  # about half the entries on a face
ORDER = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}


def _logits(x: Vector) -> Vector:
    return V @ np.tanh(U @ (x - 0.5)) + C


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


def _project(d: Vector, x0: Vector, eps: float, norm: str) -> Vector:
    """The perturbation in ball and box: l1 and l0 at once, the others one after the other."""
    if norm == "linf":
        return np.clip(x0 + np.clip(d, -eps, eps), 0, 1) - x0
    if norm == "l2":
        length = np.sqrt((d**2).sum())
        return np.clip(x0 + d * min(1.0, eps / length), 0, 1) - x0
    boxed = np.clip(x0 + d, 0, 1) - x0
    if norm == "l0":
        keep = np.argsort(-(d**2 - (d - boxed) ** 2), kind="stable")[: int(eps)]
        return np.where(np.isin(np.arange(len(d)), keep), boxed, 0.0)
    if np.abs(boxed).sum() <= eps:
        return boxed

    def shrunk(s: float) -> Vector:
        return np.clip(x0 + np.sign(d) * np.maximum(np.abs(d) - s, 0), 0, 1) - x0

    return shrunk(
        optimize.brentq(
            lambda s: np.abs(shrunk(s)).sum() - eps, 0, np.abs(d).max(), xtol=1e-15, rtol=1e-15
        )
    )


def plain_fmn(
    x0: Vector, y: int, norm: str, steps: int
) -> tuple[list[Vector], list[bool], list[float]]:
    """Every point that is looked at, which of them are adversarial, and the budgets."""
    order = ORDER[norm]
    dual = {"linf": 1, "l2": 2, "l1": np.inf, "l0": np.inf}[norm]
    farthest = np.linalg.norm(np.maximum(x0, 1 - x0), order)
    delta, eps, best = np.zeros_like(x0), 0.0, np.inf
    points, hits, budgets = [], [], []
    for k in range(steps + 1):
        x = x0 + delta
        z = _logits(x)
        other = max((c for c in range(len(z)) if c != y), key=lambda c: z[c])
        unit = np.eye(len(z))
        g = U.T @ ((1 - np.tanh(U @ (x - 0.5)) ** 2) * (V.T @ (unit[other] - unit[y])))
        hit, size = bool(z[other] > z[y]), float(np.linalg.norm(delta, order))
        points.append(x)
        hits.append(hit)
        share = (1 + math.cos(math.pi * k / steps)) / 2
        alpha, gamma = 0.01 + 0.99 * share, 0.001 + 0.049 * share
        if hit:
            best = min(best, size)
            eps = min(
                max(min(np.floor(eps * (1 - gamma)), eps - 1), 0)
                if norm == "l0"
                else eps * (1 - gamma),
                best,
            )
        elif norm == "l0":
            eps = max(np.floor(eps * (1 + gamma)), eps + 1)
        elif np.isinf(best):
            eps = max(size + abs(z[other] - z[y]) / np.linalg.norm(g, dual), eps * (1 + gamma))
        else:
            eps = eps * (1 + gamma)
        eps = float(min(eps, farthest))
        budgets.append(eps)
        delta = _project(delta + alpha * g / np.sqrt((g**2).sum()), x0, eps, norm)
    return points, hits, budgets


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_trajectory(norm: str, problem: Callable[..., Any]) -> None:
    """Points and budgets equal the transcription's; no point is outside its budget."""
    x0 = torch.from_numpy(X0)
    p = problem(
        _model, x0, _model(x0).argmax(1), torch.full((5,), torch.inf, dtype=torch.float64), norm
    )
    attack = FMN(steps=40)
    s, t, oracle, book = (
        attack.start(p),
        torch.zeros_like(p.y),
        ModelOracle(_model, Tiles(8, 8)),
        blank_book(p),
    )
    points, budgets = [], []
    for _ in range(41):
        points.append(s.x)
        oracle.bind(p, book, t, torch.ones_like(t, dtype=torch.bool), 40)
        s, t = attack.step(s, t, p, oracle), t + 1
        book = oracle.book
        budgets.append(s.eps)
        assert bool((p.norm.size(s.x - p.x0) <= s.eps * (1 + 1e-12)).all())
        assert bool(((s.x >= 0) & (s.x <= 1)).all())
    assert book.found.all()
    assert book.n_forward.tolist() == [41] * 5
    assert book.n_backward.tolist() == [40] * 5
    for row in range(5):
        plain, hits, eps = plain_fmn(X0[row], int(p.y[row]), norm, 40)
        assert np.abs(torch.stack(points)[:, row].numpy() - np.stack(plain)).max() < 1e-10
        assert np.abs(torch.stack(budgets)[:, row].numpy() - np.array(eps)).max() < 1e-10
        best = min(
            np.linalg.norm(x - X0[row], ORDER[norm])
            for x, hit in zip(plain, hits, strict=True)
            if hit
        )
        assert float(book.size[row]) == pytest.approx(best, abs=1e-10)


def test_inside_the_l2_ball_nothing_is_scaled(problem: Callable[..., Any]) -> None:
    """A small step in a large budget stays small; one tool stretches it, another ignores eps."""
    x0 = torch.full((1, 12), 0.5, dtype=torch.float64)
    p = problem(
        _model, x0, _model(x0).argmax(1), torch.full((1,), torch.inf, dtype=torch.float64), "l2"
    )
    attack, oracle, t = (
        FMN(alpha_init=0.002, alpha_final=0.002),
        ModelOracle(_model, Tiles(8, 8)),
        torch.zeros_like(p.y),
    )
    oracle.bind(p, blank_book(p), t, torch.ones_like(t, dtype=torch.bool), 100)
    s = attack.step(attack.start(p), t, p, oracle)
    assert float(s.eps) > 0.02
    assert float((s.x - x0).norm()) == pytest.approx(0.002)
    big = FMN(alpha_init=5.0, alpha_final=5.0)
    s = big.step(big.start(p), t, p, oracle)
    assert float((s.x - x0).norm()) == pytest.approx(float(s.eps))
