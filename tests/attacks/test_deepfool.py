"""DeepFool: first step in closed form, transcription of algorithm 2 of arXiv:1511.04599, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.deepfool import DeepFool
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(2)
U, V, C = 2 * _draw.normal(size=(9, 12)), _draw.normal(size=(6, 9)), _draw.normal(size=6)
X0 = np.clip(_draw.uniform(-0.2, 1.2, size=(8, 12)), 0, 1)


def _model(x: Tensor) -> Tensor:
    return torch.tanh((x - 0.5) @ torch.from_numpy(U).T) @ torch.from_numpy(V).T + torch.from_numpy(
        C
    )


def plain_deepfool(
    x0: Vector, y: int, norm: str, candidates: int, overshoot: float
) -> list[Vector]:
    """The points it looks at, until one is misclassified."""
    points, r = [x0], np.zeros_like(x0)
    wrong = [int(k) for k in np.argsort(-(V @ np.tanh(U @ (x0 - 0.5)) + C)) if k != y][:candidates]
    for _ in range(50):
        h = np.tanh(U @ (points[-1] - 0.5))
        z = V @ h + C
        if int(z.argmax()) != y:
            break
        ways = []
        for k in wrong:
            w = U.T @ ((1 - h**2) * (V[k] - V[y]))
            least = abs(z[k] - z[y]) / np.linalg.norm(w, 1 if norm == "linf" else 2)
            ways.append((least, np.sign(w) if norm == "linf" else w / np.linalg.norm(w)))
        least, direction = min(ways, key=lambda way: way[0])
        r = (
            r
            + max(least, overshoot / 10 * np.linalg.norm(r, np.inf if norm == "linf" else 2))
            * direction
        )
        points.append(np.clip(x0 + (1 + overshoot) * r, 0, 1))
    return points


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(("candidates", "overshoot"), [(9, 0.02), (1, 0.02), (3, 0.5)])
def test_trajectory(
    norm: str, candidates: int, overshoot: float, problem: Callable[..., Any]
) -> None:
    """Each row visits the transcription's points, ends at its first mistake, pays per class."""
    x0 = torch.from_numpy(X0)
    p = problem(
        _model, x0, _model(x0).argmax(1), torch.full((8,), torch.inf, dtype=torch.float64), norm
    )
    plain = [
        plain_deepfool(X0[row], int(p.y[row]), norm, candidates, overshoot) for row in range(8)
    ]
    assert len({len(points) for points in plain}) > 1
    attack = DeepFool(candidates=candidates, overshoot=overshoot)
    s, t, oracle, book = (
        attack.start(p),
        torch.zeros_like(p.y),
        ModelOracle(_model, Tiles(8, 8)),
        blank_book(p),
    )
    active = torch.ones_like(p.y, dtype=torch.bool)
    for step in range(max(len(points) for points in plain)):
        for row, points in enumerate(plain):
            assert bool(active[row]) == (step < len(points))
            if active[row]:
                assert np.abs(s.x[row].numpy() - points[step]).max() < 1e-10
        oracle.bind(p, book, t, active, attack.steps)
        s, book = attack.step(s, t, p, oracle), oracle.book
        active = active & ~attack.done(s)
        t = t + active
    assert book.found.all()
    classes = min(candidates, 5) + 1
    assert book.n_backward.tolist() == [classes * len(points) for points in plain]
    for row, points in enumerate(plain):
        assert np.abs(book.x[row].numpy() - points[-1]).max() < 1e-10


def test_candidates_are_the_likeliest_wrong_classes(problem: Callable[..., Any]) -> None:
    """With one candidate it goes to the runner-up, with two to the nearer boundary."""
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]])

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T + torch.tensor([0.0, -0.2, -0.3])

    p = problem(
        model, torch.full((1, 2), 0.5), torch.tensor([0]), torch.full((1,), torch.inf), "l2"
    )
    for candidates, way in ((1, [0.2, 0.0]), (2, [0.0, 0.3 / 9])):
        attack, t, oracle = (
            DeepFool(candidates=candidates),
            torch.zeros(1, dtype=torch.int64),
            ModelOracle(model, Tiles(8, 8)),
        )
        oracle.bind(p, blank_book(p), t, torch.ones(1, dtype=torch.bool), 50)
        s = attack.step(attack.start(p), t, p, oracle)
        assert torch.allclose(s.x - p.x0, 1.02 * torch.tensor([way]), atol=1e-6)


def test_equal_gradients_are_no_boundary(problem: Callable[..., Any]) -> None:
    """A class always as far below the label is never reached; without another the row stays."""

    def model(x: Tensor) -> Tensor:
        return torch.stack([x.sum(1), x.sum(1) - 1], 1)

    p = problem(
        model, torch.full((1, 3), 0.5), torch.tensor([0]), torch.full((1,), torch.inf), "l2"
    )
    attack, t, oracle = (
        DeepFool(),
        torch.zeros(1, dtype=torch.int64),
        ModelOracle(model, Tiles(8, 8)),
    )
    oracle.bind(p, blank_book(p), t, torch.ones(1, dtype=torch.bool), 50)
    s = attack.step(attack.start(p), t, p, oracle)
    assert torch.equal(s.x, p.x0)
    assert torch.isfinite(s.r).all()
