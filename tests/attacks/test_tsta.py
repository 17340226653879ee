"""TSTA against plain loops: one sample, float64, numpy; what it costs, and fewer classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from robbench.attacks.base import MARGIN
from robbench.attacks.tsta import TSTA
from robbench.testing import check_attack, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

from .plain_network import ROWS, Network, Vector, network_of, project, rows_of, steepest, trace
from .test_apgd import plain_apgd

pytestmark = pytest.mark.usefixtures("one_thread")


def plain_tsta(
    network: Network,
    x0: Vector,
    y: int,
    eps: float,
    norm: str,
    order: list[int],
    probe: int,
    iterations: int,
) -> list[Vector]:
    """All points that are asked about: of every probe, then of the run at the best target."""
    unit = np.eye(len(network.c))

    def lead(x: Vector, target: int) -> tuple[float, Vector]:
        z = network.logits(x)
        return float(z[target] - z[y]), network.pull(x, unit[target] - unit[y])

    asked: list[Vector] = []
    found: list[tuple[float, int, Vector]] = []
    for target in order:
        x = x0
        for i in range(probe + 1):
            asked.append(x)
            value, grad = lead(x, target)
            found.append((value, target, x))
            length = eps * (1 + math.cos(math.pi * i / (probe + 1)))
            x = project(x + length * steepest(grad, norm), x0, eps, norm)
    _, best, top = max(found, key=lambda entry: entry[0])
    run = plain_apgd(lambda x: lead(x, best), top, x0, eps, norm, iterations)
    return asked + run.xs[: iterations + 1]


@pytest.mark.few(3)
@pytest.mark.parametrize(("norm", "iterations"), [("linf", 1), ("linf", 37), ("l2", 8)])
@pytest.mark.parametrize(("targets", "probe"), [(1, 1), (4, 3), (3, 10)])
def test_points_are_the_plain_ones(
    targets: int, probe: int, norm: str, iterations: int, problem: Callable[..., Problem]
) -> None:
    """Every iterate to 1e-10, in l2 before the run has converged to the last bit."""
    network = network_of(3)
    p = rows_of(network, problem, norm, {"linf": 0.15, "l2": 0.5}[norm], 3)
    attack = TSTA(targets=targets, probe=probe, iterations=iterations)
    points, _ = trace(attack, network, p)
    chosen = set()
    for row in range(ROWS):
        y, z = int(p.y[row]), p.logits0[row].tolist()
        order = sorted((k for k in range(len(z)) if k != y), key=lambda k: -z[k])[:targets]
        x0, eps = p.x0[row].numpy(), float(p.eps[row])
        expected = plain_tsta(network, x0, y, eps, norm, order, probe, iterations)
        assert len(expected) == attack.steps + 1
        assert np.abs(points[: attack.steps + 1, row] - np.stack(expected)).max() < 1e-10
        chosen.add(order.index(_last_target(attack, network, p, row)))
    assert len(chosen) > 1 or targets == 1  # not always the likeliest


def _last_target(attack: TSTA, network: Network, p: Problem, row: int) -> int:
    _, states = trace(attack, network, p)
    return int(states[-1].best[row])


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_survivors_cost_what_the_options_say(classes: int) -> None:
    """No query for targets that do not exist; one look less than queries has no gradient."""
    split = toy_split(30, classes)
    threat = parse_threat("linf:0.001")[0]
    found = judge("tsta:targets=4,probe=3,iterations=5", toy_model(classes), split, threat)
    labels = split.labels.tolist()
    costs = {
        (v.n_forward, v.n_backward)
        for v in found
        if not v.adversarial and v.clean_pred == labels[v.sample]
    }
    targets = min(4, classes - 1)
    clean_and_worst = 2
    assert costs == {(4 * targets + 6 + clean_and_worst, 3 * targets + 5)}


def test_under_a_target_only_that_is_probed(problem: Callable[..., Problem]) -> None:
    """One probe, then the run."""
    network = network_of(3)
    p = rows_of(network, problem, "linf", 0.1, 3).replace(targeted=True)
    attack = TSTA(targets=3, probe=2, iterations=4)
    _, states = trace(attack, network, p)
    ends = [bool(s.over.all()) for s in states[1:]]
    assert ends.index(True) == 3 + 4
    assert torch.equal(states[4].best, p.target)


@pytest.mark.slow
def test_kinds_and_options() -> None:
    """It counts as an attack that does not saturate, and conforms under other options."""
    assert MARGIN in TSTA().kinds
    check_attack("tsta:targets=2,probe=1,iterations=2,order=distance")
