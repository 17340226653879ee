"""C&W against a transcription of arXiv:1608.04644, section VI.A: one sample, numpy, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.cw import CarliniWagner
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(11)
U, V, C = (
    1.5 * _draw.normal(size=(9, 12)),
    _draw.normal(size=(4, 9)),
    _draw.normal(size=4) - 20,
)  # all logits are negative
X0 = np.clip(_draw.uniform(-0.6, 1.6, size=(5, 12)), 0, 1)  # about half the entries on a face


def _logits(x: Vector) -> Vector:
    return V @ np.tanh(U @ (x - 0.5)) + C


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


class Run:
    """The points that are looked at, and for each value of c how many, and whether it succeeded."""

    def __init__(self) -> None:
        self.points: list[Vector] = []
        self.searches: list[tuple[float, int, bool]] = []


def plain_cw(x0: Vector, y: int, o: CarliniWagner) -> Run:
    """A search over c around Adam."""
    run, c, low, high = Run(), o.c, 0.0, 1e10
    w0 = np.arctanh((2 * x0 - 1) * (1 - o.shrink))
    for _ in range(o.search_steps):
        w, m, v, before, found, looks = w0, np.zeros_like(x0), np.zeros_like(x0), np.inf, False, 0
        for k in range(o.iterations + 1):
            x = np.clip(x0 + (np.tanh(w) - np.tanh(w0)) / 2, 0, 1)
            run.points.append(x)
            looks += 1
            z = _logits(x)
            other = max((j for j in range(len(z)) if j != y), key=lambda j: z[j])
            f = max(z[y] - z[other], -o.kappa) + o.kappa
            found = found or f == 0
            loss = ((x - x0) ** 2).sum() + c * f
            if o.abort_early and k % math.ceil(o.iterations / 10) == 0:
                if loss > 0.9999 * before:
                    break
                before = loss
            dz = np.eye(len(z))[y] - np.eye(len(z))[other] if f > 0 else np.zeros(len(z))
            df = U.T @ ((1 - np.tanh(U @ (x - 0.5)) ** 2) * (V.T @ dz))
            g = (2 * (x - x0) + c * df) * (1 - np.tanh(w) ** 2) / 2
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - o.rate * (m / (1 - 0.9 ** (k + 1))) / (
                np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8
            )
        run.searches.append((c, looks, found))
        if found:
            high = min(high, c)
        else:
            low = max(low, c)
        c = (low + high) / 2 if high < 1e10 else 10 * c
    return run


@pytest.mark.parametrize(
    "attack",
    [
        CarliniWagner(iterations=60, search_steps=6, rate=0.05, c=0.01),
        CarliniWagner(iterations=35, search_steps=5, rate=0.05, c=1.0, kappa=0.3),
        CarliniWagner(iterations=7, search_steps=4, rate=0.1, abort_early=False, shrink=1e-3),
    ],
    ids=["default", "kappa", "no abort"],
)
def test_trajectory(attack: CarliniWagner, problem: Callable[..., Any]) -> None:
    """The row-wise state machine visits the points of the nested loops, and ends with them."""
    x0 = torch.from_numpy(X0)
    p = problem(
        _model, x0, _model(x0).argmax(1), torch.full((5,), torch.inf, dtype=torch.float64), "l2"
    )
    plain = [plain_cw(X0[row], int(p.y[row]), attack) for row in range(5)]
    if attack.abort_early:
        assert len({len(run.points) for run in plain}) > 1  # rows abort at their own time
        assert any(looks <= attack.iterations for run in plain for _, looks, _ in run.searches)
        assert {found for run in plain for _, _, found in run.searches} == {True, False}
    else:
        assert all(len(run.points) == attack.steps + 1 for run in plain)
    s, t, oracle, book = (
        attack.start(p),
        torch.zeros_like(p.y),
        ModelOracle(_model, Tiles(8, 8)),
        blank_book(p),
    )
    active = torch.ones_like(p.y, dtype=torch.bool)
    for step in range(max(len(run.points) for run in plain)):
        for row, run in enumerate(plain):
            assert bool(active[row]) == (step < len(run.points))
            if active[row]:
                assert np.abs(s.x[row].numpy() - run.points[step]).max() < 1e-10, (row, step)
        oracle.bind(p, book, t, active, attack.steps)
        s, book = attack.step(s, t, p, oracle), oracle.book
        active = active & ~attack.done(s) & (t < attack.steps)
        t = t + active
    assert not active.any()
    assert book.n_forward.tolist() == [len(run.points) for run in plain]


def test_black_and_white_pixels_move(problem: Callable[..., Any]) -> None:
    """An input of zeros and ones is where it starts; every entry leaves its face in a few moves."""
    x0 = torch.from_numpy((X0 > 0.5).astype(np.float32))
    weight = torch.where(x0[0] > 0, -1.0, 1.0)

    def model(x: Tensor) -> Tensor:
        return torch.stack(
            [torch.zeros(len(x)), (x - x0[0]) @ weight - 3], 1
        )  # away from all faces

    p = problem(model, x0[:1], torch.tensor([0]), torch.full((1,), torch.inf), "l2")
    attack, oracle, t = (
        CarliniWagner(c=10.0),
        ModelOracle(model, Tiles(8, 8)),
        torch.zeros_like(p.y),
    )
    s = attack.start(p)
    assert torch.equal(s.x, p.x0)
    for k in range(20):
        oracle.bind(p, blank_book(p), t + k, torch.ones(1, dtype=torch.bool), attack.steps)
        s = attack.step(s, t + k, p, oracle)
    assert float((s.x - p.x0).abs().min()) > 0.01


def test_the_hard_limit_counts_all_searches() -> None:
    """Each search scores its start and every move; the paper's cost can be asked for."""
    assert CarliniWagner(search_steps=3, iterations=10).steps + 1 == 3 * 11
    assert CarliniWagner(iterations=10_000).steps == 9 * 10_001 - 1
