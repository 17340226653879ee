"""A3 against a plain transcription of its rounds: one sample, float64, the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from robbench.attacks.a3 import A3
from robbench.core import keyed
from robbench.testing import judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

from .plain_network import (
    CLASSES,
    DIMENSION,
    ROWS,
    Network,
    Vector,
    network_of,
    objective_of,
    project,
    rows_of,
    steepest,
    trace,
)

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.1, "l2": 0.4}
STANDARD = [(0, 8), (7, 15), (7, 15), (7, 32), (7, 37), (7, 37), (7, 42), (7, 47), (7, 52)]
STANDARD += [(7, 57)] * 5 + [(7, 62)] * 4 + [(7, 67)] * 50
MASKED = [(0, 8), (7, 15), (7, 15)] + [(10, 15)] * 10
MASKED += [(15, 20), (15, 25), (10, 20), (10, 25), (10, 28), (10, 30)]
MASKED += [(10, 35)] * 5 + [(10, 45)] * 5 + [(10, 55)] * 20


def numbers(key: int, run: int, counter: int, count: int) -> Vector:
    """Uniform on [0,1), of a row's key, the run and a counter."""
    folded = keyed.fold(torch.tensor([key]), run)
    return keyed.uniform(folded, (count,), counter, dtype=torch.float64)[0].numpy()


def plain_a3(
    network: Network, p: Problem, row: int, norm: str, runs: int, schedule: str
) -> list[Vector]:
    """Every point at which a row is queried, run by run."""
    x0, eps, y = p.x0[row].numpy(), float(p.eps[row]), int(p.y[row])
    margin = objective_of(network, "margin", p, row)
    ranked = [k for k in np.argsort(-network.logits(x0)) if k != y]
    points: list[Vector] = []
    for run, (directed, by_margin) in enumerate(
        (STANDARD if schedule == "standard" else MASKED)[:runs]
    ):
        w = 2 * numbers(int(p.key[row]), run, 3, CLASSES) - 1
        share = numbers(int(p.key[row]), run, 4, 1)[0]
        if run >= 2:
            if schedule == "standard":
                late = run >= 10
                w_y = -0.8 + 0.9 * share if late else -0.5 + 0.6 * share
            else:
                late = run >= 24
                w_y = 0.0 if late else -0.1 + 0.6 * share
            among = ranked[:4] if late else ranked[:9]
            w[among[(run - 1) % len(among)]] = 0.8 * CLASSES / 10
            w[y] = w_y * CLASSES / 10
        folded = p.replace(key=keyed.fold(p.key, run))
        start = p.norm.uniform(folded.key, torch.Size([DIMENSION]), torch.float64)[row].numpy()
        x = project(x0 + eps * start, x0, eps, norm)
        for _ in range(directed):
            points.append(x)
            x = project(x + eps * steepest(network.pull(x, w), norm), x0, eps, norm)
        low = 0.1 * eps if by_margin <= 10 else 0.001 * eps
        for i in range(by_margin):
            points.append(x)
            a = low + (eps - low) * (1 + math.cos(math.pi * i / (by_margin + 1))) / 2
            x = project(x + a * steepest(margin(x)[1], norm), x0, eps, norm)
        points.append(x)
    return points


@pytest.mark.few(3)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("schedule", "rounds"),
    [("standard", 1), ("standard", 5), ("standard", 20), ("masked", 5), ("masked", 31)],
)
def test_points_are_the_plain_ones(
    norm: str, schedule: Any, rounds: int, problem: Callable[..., Problem]
) -> None:
    """Every point of every round, also of the late ones, which prefer other weights.

    In l2 each step multiplies rounding errors; they end with their round.
    """
    network = network_of(4, scale=1)
    p = rows_of(network, problem, norm, EPS[norm], 4)
    points, _ = trace(A3(rounds=rounds, schedule=schedule), network, p)
    for row in range(ROWS):
        expected = np.stack(plain_a3(network, p, row, norm, rounds, schedule))
        assert expected.shape == points[:-1, row].shape
        assert np.abs(points[:-1, row] - expected).max() < (1e-12 if norm == "linf" else 1e-6)


def test_targets_are_so_many_and_the_threats_own(problem: Callable[..., Problem]) -> None:
    """`targets` bounds the classes that take turns; a targeted threat has one."""
    network = network_of(4)
    p = rows_of(network, problem, "linf", 0.1, 4)
    top = p.likeliest_wrong(2)
    for r in range(2, 8):
        chosen = p.replace(targeted=True), p
        for own, q in zip((True, False), chosen, strict=True):
            _, w = A3(targets=2)._fresh(q, torch.full_like(p.y, r))
            expected = p.target if own else top[:, (r - 1) % 2]
            assert w.gather(1, expected[:, None])[:, 0].tolist() == pytest.approx(
                [0.8 * CLASSES / 10] * ROWS
            )


def test_a_round_queries_each_point_once() -> None:
    """Nine rounds: 341 moves and 9 last points, which need no gradient."""
    attack = A3()
    moves = sum(m + n for m, n in STANDARD[:9])
    assert (moves, attack.steps) == (341, 349)
    held = [v for v in judge_all(attack, "linf:0.0001") if v.clean_margin > 1]
    assert held
    assert {(v.n_backward, v.adversarial) for v in held} == {(341, False)}


def test_keep_ends_rows_that_stay_far() -> None:
    """At a tiny budget margins stay: three rounds and no more; at 1 nobody is given up."""
    for keep, moves in ((0.5, 8 + 22 + 22), (1.0, 8 + 22 + 22 + 39 + 44)):
        found = judge_all(A3(rounds=5, keep=keep), "linf:0.0001")
        assert {v.n_backward for v in found if v.clean_margin > 1} == {moves}


def judge_all(attack: A3, threat: str) -> Any:
    return judge("a3", toy_model(), toy_split(), parse_threat(threat)[0], attack=attack)
