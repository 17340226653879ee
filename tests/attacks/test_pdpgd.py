"""PDPGD against a transcription of algorithm 2 of arXiv:2106.01538: one row, numpy, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.pdpgd import PDPGD, proximal
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.testing import judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(8)
U, V, C = 2 * _draw.normal(size=(9, 12)), _draw.normal(size=(4, 9)), _draw.normal(size=4)
X0 = np.clip(_draw.uniform(-0.6, 1.6, size=(5, 12)), 0, 1)  # about half the entries on a face


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


def _margin(x: Vector, y: int) -> tuple[float, Vector]:
    """z_y - max_{k != y} z_k and its gradient."""
    hidden = np.tanh(U @ (x - 0.5))
    z = V @ hidden + C
    other = max((k for k in range(len(z)) if k != y), key=lambda k: z[k])
    return float(z[y] - z[other]), U.T @ ((1 - hidden**2) * (V[y] - V[other]))


def _prox(norm: str, d: Vector, mu: float) -> Vector:
    """By definition: soft threshold, bisection of linf's level, a search of l_(2/3) per entry."""
    if norm == "l1":
        return np.sign(d) * np.maximum(np.abs(d) - mu, 0)
    if norm == "linf":
        low, high = 0.0, np.abs(d).max()
        for _ in range(200):  # the level c at which sum max(|d| - c, 0) = mu
            middle = (low + high) / 2
            above = np.maximum(np.abs(d) - middle, 0).sum() > mu
            low, high = (middle, high) if above else (low, middle)
        return np.clip(d, -high, high)
    shrunk = []
    for value in np.abs(d):
        # The objective's derivative rises from its inflection on: u - value + 2/3 mu u^(-1/3).
        low, high = (2 / 9 * mu) ** 0.75, value
        for _ in range(200):
            middle = (low + high) / 2
            rising = middle - value + 2 / 3 * mu * middle ** (-1 / 3) > 0
            low, high = (low, middle) if rising else (middle, high)
        better = high > 0 and (high - value) ** 2 / 2 + mu * high ** (2 / 3) < value**2 / 2
        shrunk.append(high if better else 0.0)
    return np.sign(d) * np.array(shrunk)


def plain_pdpgd(x0: Vector, y: int, norm: str, steps: int, rate: float) -> list[Vector]:
    """Every point that is looked at."""
    r = mean = square = np.zeros_like(x0)
    v = -math.log(0.01)
    weights = np.array([1, 100]) / 101
    points = []
    for i in range(steps + 1):
        points.append(x0 + r)
        m, slope = _margin(points[-1], y)
        g = slope / (1 + math.exp(-m))  # of softplus
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        below = np.sqrt(square / (1 - 0.999 ** (i + 1))) + 1e-8
        step = rate * 0.01 ** (i / steps)
        first = np.clip(x0 + r - step * mean / (1 - 0.9 ** (i + 1)) / below, 0, 1) - x0
        mu = weights[0] / weights[1] * step / below.max()
        r = first
        for _ in range(5):
            before = r
            r = _prox(norm, before - below / below.max() * (before - first), mu)
            r = np.clip(x0 + r, 0, 1) - x0
            if np.linalg.norm(r - before) <= 0.01 * np.linalg.norm(r):
                break
        theta = 0.1 * ((steps - 1 - i) / (steps - 1) * 0.9 + 0.1) if i < steps else 0.01
        v = float(np.clip(v + theta * np.sign(m), -math.log(1e6), math.log(1e6)))
        weights = 0.9 * weights + 0.1 * np.exp([0, v]) / np.exp([0, v]).sum()
    return points


def _trace(attack: Any, p: Any) -> tuple[Tensor, ModelOracle]:
    """[steps + 1, B, D]: every point that is looked at; and the oracle with its books."""
    s, t = attack.start(p), torch.zeros_like(p.y)
    oracle, book = ModelOracle(_model, Tiles(8, 8)), blank_book(p)
    points = []
    for _ in range(attack.steps + 1):
        points.append(attack.point(s))
        oracle.bind(p, book, t, torch.ones_like(t, dtype=torch.bool), attack.steps)
        s, t = attack.step(s, t, p, oracle), t + 1
        book = oracle.book
    return torch.stack(points), oracle


@pytest.mark.parametrize("norm", ["l1", "linf", "l0"])
@pytest.mark.parametrize(("steps", "rate"), [(60, 0.1), (25, 0.3)])
def test_trajectory(norm: str, steps: int, rate: float, problem: Callable[..., Any]) -> None:
    """All points are those of the plain transcription, while the box cuts some of them."""
    x0 = torch.from_numpy(X0)
    y = _model(x0).argmax(1)
    p = problem(_model, x0, y, torch.full((5,), torch.inf, dtype=torch.float64), norm)
    points, oracle = _trace(PDPGD(steps=steps, rate=rate), p)
    for row in range(5):
        plain = np.stack(plain_pdpgd(X0[row], int(y[row]), norm, steps, rate))
        assert np.abs(points[:, row].numpy() - plain).max() < 1e-8
    assert oracle.book.n_forward.tolist() == [steps + 1] * 5
    assert oracle.book.n_backward.tolist() == [steps] * 5
    assert bool(oracle.book.found.all())


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_polish_bisects_the_way_to_the_nearest_point(
    norm: str, problem: Callable[..., Any]
) -> None:
    """The first moves are those without polish; then each halves the way, without a gradient."""
    x0 = torch.from_numpy(X0)
    y = _model(x0).argmax(1)
    p = problem(_model, x0, y, torch.full((5,), torch.inf, dtype=torch.float64), norm)
    plain, _ = _trace(PDPGD(steps=60), p)
    points, oracle = _trace(PDPGD(steps=66, polish=6), p)
    assert torch.equal(points[:61], plain)
    assert oracle.book.n_backward.tolist() == [60] * 5
    for row in range(5):
        hits = [x for x in plain[:, row] if int(_model(x[None]).argmax()) != int(y[row])]
        top = min(hits, key=lambda x: float(NORMS[norm].size((x - x0[row])[None])))
        low, high = 0.0, 1.0
        for x in points[61:, row]:
            middle = (low + high) / 2
            assert torch.allclose(x, x0[row] + middle * (top - x0[row]), atol=1e-12)
            hit = int(_model(x[None]).argmax()) != int(y[row])
            low, high = (low, middle) if hit else (middle, high)
        least = high * float(NORMS[norm].size((top - x0[row])[None]))
        assert float(oracle.book.size[row]) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("norm", ["l1", "linf", "l0"])
def test_proximal_operators(norm: str) -> None:
    """They are the minimum by definition, for any weight of the size, also where that is zero."""
    d = torch.from_numpy(np.random.default_rng(2).normal(size=(6, 40)))
    mu = torch.tensor([1e-9, 0.01, 0.1, 0.3, 1.0, 30.0], dtype=torch.float64)
    found = proximal(NORMS[norm], d, mu)
    for row in range(6):
        plain = _prox(norm, d[row].numpy(), float(mu[row]))
        assert np.abs(found[row].numpy() - plain).max() < 1e-6
    assert torch.allclose(proximal(NORMS[norm], d, torch.zeros(6, dtype=d.dtype)), d, atol=1e-6)
    assert not bool(proximal(NORMS[norm], 0 * d, mu).any())


def test_a_zero_gradient_leaves_the_row_where_it_is(problem: Callable[..., Any]) -> None:
    """No direction and no NaN."""
    x0, y = torch.full((2, 4), 0.5), torch.zeros(2, dtype=torch.int64)

    def flat(x: Tensor) -> Tensor:
        return x[:, :2] * 0 + torch.tensor([1.0, 0.0])

    p = problem(flat, x0, y, torch.full((2,), torch.inf), "l1")
    attack = PDPGD(steps=3)
    s, t, oracle = attack.start(p), torch.zeros_like(y), ModelOracle(flat, Tiles(8, 8))
    for k in range(4):
        oracle.bind(p, blank_book(p), t + k, torch.ones(2, dtype=torch.bool), 3)
        s = attack.step(s, t + k, p, oracle)
        assert torch.equal(s.x, x0)


@pytest.mark.parametrize("factor", [1e-25, 1e30])
@pytest.mark.parametrize("norm", ["linf", "l1", "l0"])
def test_logits_of_any_size_can_be_attacked(norm: str, factor: float) -> None:
    """Squares of such gradients leave float32; the point found is adversarial and no NaN."""
    model, split = toy_model(), toy_split(12)

    class Scaled(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x) * factor

    threat = parse_threat(f"{norm}:inf")[0]
    found = judge("pdpgd:steps=30", Scaled().eval(), split, threat)
    assert {verdict.status for verdict in found} == {0}
    assert all(verdict.adversarial for verdict in found)


@pytest.mark.parametrize("norm", ["l1", "linf", "l0"])
def test_proximal_points_do_not_depend_on_how_many_there_are(norm: str) -> None:
    """In any part of many: torch's pow rounds the last elements of a tensor alone."""
    d = torch.randn(200, 7, generator=torch.Generator().manual_seed(3))
    mu = torch.rand(200, generator=torch.Generator().manual_seed(4)) / 4
    whole = proximal(NORMS[norm], d, mu)
    for width in (1, 3, 5, 13):
        parts = zip(d.split(width), mu.split(width), strict=True)
        assert torch.equal(torch.cat([proximal(NORMS[norm], *part) for part in parts]), whole)
