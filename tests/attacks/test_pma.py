"""PMA against the authors' loop on plain probabilities: one sample, float64, numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from robbench.attacks.base import MARGIN
from robbench.attacks.pma import PMA
from robbench.engine.lockstep import lockstep
from robbench.testing import check_attack
from robbench.threat.problem import Problem

from .plain_network import ROWS, Network, Vector, network_of, project, rows_of, steepest, trace

pytestmark = pytest.mark.usefixtures("one_thread")


def plain_pma(
    network: Network,
    start: Vector,
    x0: Vector,
    y: int,
    eps: float,
    norm: str,
    steps: int,
    up: bool,
    schedule: str,
) -> list[Vector]:
    """The loop of Xie et al. 2025 without its first move away: all iterates."""
    half, xs = steps // 2, [start]
    for i in range(steps):
        x = xs[-1]
        z = network.logits(x)
        p = np.exp(z) / np.exp(z).sum()
        unit = np.eye(len(p))
        slope = p[:, None] * (unit - p)  # of p_k in z
        other = max((k for k in range(len(p)) if k != y), key=lambda k: p[k])
        down, pull = -slope[y], slope[other]
        dz = down + pull if i >= half else pull if up else down
        done, of = (
            (i, steps) if schedule == "one" else (i, half) if i < half else (i - half, steps - half)
        )
        length = eps * (1 + math.cos(math.pi * done / of))
        xs.append(project(x + length * steepest(network.pull(x, dz), norm), x0, eps, norm))
    return xs


@pytest.mark.parametrize("schedule", ["two", "one"])
@pytest.mark.parametrize("steps", [1, 2, 9, 30])
@pytest.mark.parametrize("variant", [0, 1, 4])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_are_the_plain_ones(
    norm: str, variant: int, steps: int, schedule: str, problem: Callable[..., Problem]
) -> None:
    """Every iterate to 1e-9, for both runs of a pair and with a budget per row."""
    network = network_of(1, scale=1)
    p = rows_of(network, problem, norm, {"linf": 0.1, "l2": 0.4}[norm], 1)
    attack = PMA(steps=steps, schedule=schedule, restarts=3)
    p = attack.vary(p, torch.full_like(p.y, variant))
    points, _ = trace(attack, network, p)
    for row in range(ROWS):
        expected = plain_pma(
            network,
            points[0, row],
            p.x0[row].numpy(),
            int(p.y[row]),
            float(p.eps[row]),
            norm,
            steps,
            variant % 2 == 1,
            schedule,
        )
        assert np.abs(points[: steps + 1, row] - np.stack(expected)).max() < 1e-9


def test_runs_come_in_pairs_from_starts_of_their_own(problem: Callable[..., Problem]) -> None:
    """Twice as many variants as restarts, no two of them from the same point."""
    network = network_of(1)
    p = rows_of(network, problem, "linf", 0.1, 1)
    attack = PMA(restarts=2)
    assert attack.variants(10) == 4
    starts = [attack.start(attack.vary(p, torch.full_like(p.y, k))).x for k in range(4)]
    assert len({tuple(x[0].tolist()) for x in starts}) == 4


@pytest.mark.parametrize("variant", [0, 1])
def test_confident_rows_are_moved(variant: int, problem: Callable[..., Problem]) -> None:
    """At a margin of 400, where float32 probabilities are 1 and 0, it reaches the boundary."""
    weight = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 3.0]]) * 200

    def model(x: Tensor) -> Tensor:
        return x @ weight.T + torch.tensor([0.0, -900.0])

    x0 = torch.tensor([[0.5, 0.5, 0.5]])
    y = torch.zeros(1, dtype=torch.int64)
    p = problem(model, x0, y, torch.full((1,), 0.45), "linf")
    assert model(x0).softmax(1).tolist() == [[1.0, 0.0]]
    attack = PMA(steps=10)
    x = lockstep(attack, model, attack.vary(p, torch.tensor([variant]))).x
    assert torch.allclose(x, torch.tensor([[0.05, 0.95, 0.95]]))


def test_kinds_and_options() -> None:
    """It counts as an attack that does not saturate, and conforms under other options."""
    assert MARGIN in PMA().kinds
    check_attack("pma:steps=2,schedule=one")
