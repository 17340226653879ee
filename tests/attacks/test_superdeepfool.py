"""SuperDeepFool against a transcription of SDF(inf, 1) of arXiv:2303.12481: one row, numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.superdeepfool import SuperDeepFool
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(15)
U, V, C = _draw.normal(size=(9, 12)), _draw.normal(size=(4, 9)), 0.3 * _draw.normal(size=4)
X0 = np.clip(_draw.uniform(-0.2, 1.2, size=(6, 12)), 0, 1)


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


def _logits(x: Vector) -> Vector:
    return V @ np.tanh(U @ (x - 0.5)) + C


def _slopes(x: Vector) -> Vector:
    """[K,D]: the gradient of each logit."""
    return (V * (1 - np.tanh(U @ (x - 0.5)) ** 2)) @ U


def plain_sdf(x0: Vector, y: int, overshoot: float, search: int, steps: int) -> list[Vector]:
    """Every point that is looked at, as nested loops; all but the bisection end in time for it."""
    looked = [x0]
    while len(looked) <= steps - search:
        base, r = looked[-1], np.zeros_like(x0)
        while len(looked) <= steps - search:  # DeepFool
            if int(_logits(looked[-1]).argmax()) != y:
                break
            z, w = _logits(looked[-1]), _slopes(looked[-1])
            others = [k for k in range(len(z)) if k != y]
            away = {k: (z[y] - z[k]) / np.linalg.norm(w[k] - w[y]) for k in others}
            k = min(others, key=away.__getitem__)
            length = max(away[k], overshoot / 10 * np.linalg.norm(r))
            r = r + length * (w[k] - w[y]) / np.linalg.norm(w[k] - w[y])
            looked.append(np.clip(base + (1 + overshoot) * r, 0, 1))
        if len(looked) > steps - search:
            break
        x, w = looked[-1], _slopes(looked[-1])
        normal = w[int(_logits(x).argmax())] - w[y]
        normal = normal / np.linalg.norm(normal)
        looked.append(np.clip(x0 + (x - x0) @ normal * normal, 0, 1))
        if int(_logits(looked[-1]).argmax()) != y:
            break
    hits = [x for x in looked if int(_logits(x).argmax()) != y]
    top, low, high = min(hits, key=lambda x: np.linalg.norm(x - x0)), 0.0, 1.0
    for _ in range(search):
        middle = (low + high) / 2
        looked.append(x0 + middle * (top - x0))
        hit = int(_logits(looked[-1]).argmax()) != y
        low, high = (low, middle) if hit else (middle, high)
    return looked


@pytest.mark.parametrize(("overshoot", "search"), [(0.02, 10), (0.1, 0)])
def test_trajectory(overshoot: float, search: int, problem: Callable[..., Any]) -> None:
    """All points are those of the plain transcription; then the row is done."""
    x0 = torch.from_numpy(X0)
    y = _model(x0).argmax(1)
    p = problem(_model, x0, y, torch.full((6,), torch.inf, dtype=torch.float64), "l2")
    attack, rounds = SuperDeepFool(steps=60, polish=search, overshoot=overshoot), []
    for row in range(6):
        plain = plain_sdf(X0[row], int(y[row]), overshoot, search, attack.steps)
        one = p.take(slice(row, row + 1))
        s, t, book = attack.start(one), torch.zeros(1, dtype=torch.int64), blank_book(one)
        oracle = ModelOracle(_model, Tiles(8, 8))
        for k, x in enumerate(plain):
            assert not bool(attack.done(s))
            assert np.abs(attack.point(s)[0].numpy() - x).max() < 1e-9, (row, k)
            oracle.bind(one, book, t, torch.ones(1, dtype=torch.bool), attack.steps)
            s, t = attack.step(s, t, one, oracle), t + 1
            book = oracle.book
        assert bool(attack.done(s))
        rounds.append(len(plain))
    assert min(rounds) < attack.steps


def test_what_is_not_done_in_time_is_bisected(problem: Callable[..., Any]) -> None:
    """Of 12 moves 8 bisect, although it would have gone on; backwards are the others' alone."""
    x0 = torch.from_numpy(X0)
    y = _model(x0).argmax(1)
    p = problem(_model, x0, y, torch.full((6,), torch.inf, dtype=torch.float64), "l2")
    attack = SuperDeepFool(steps=12, polish=8)
    s, t, book = attack.start(p), torch.zeros_like(y), blank_book(p)
    oracle = ModelOracle(_model, Tiles(8, 8))
    for _ in range(13):
        oracle.bind(p, book, t, torch.ones(6, dtype=torch.bool), attack.steps)
        s, t = attack.step(s, t, p, oracle), t + 1
        book = oracle.book
    assert bool(attack.done(s).all())
    assert book.n_backward.max() == 5 * 4
    assert bool((book.size <= s.way.size).all())
