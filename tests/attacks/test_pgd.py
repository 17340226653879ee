"""PGD's trajectories against a plain transcription of the paper: one sample, float64, numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robbench.attacks.pgd import PGD
from robbench.threat.problem import Problem

from .plain_network import (
    ROWS,
    network_of,
    objective_of,
    plain_pgd,
    rows_of,
    trace,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("objective", ["cross-entropy", "margin", "dlr", "kl-from-clean"])
@pytest.mark.parametrize("init", ["uniform", "gaussian"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd(norm: str, init: str, objective: str, problem: Callable[..., Problem]) -> None:
    """Every iterate of PGD equals the plain loop's to 1e-10, with a budget per row."""
    network = network_of(1)
    p = rows_of(network, problem, norm, {"linf": 0.1, "l2": 0.4}[norm], 1)
    attack = PGD(steps=37, rate=0.07, init=init, objective=objective)
    points, _ = trace(attack, network, p)
    for row in range(ROWS):
        x0, eps = p.x0[row].numpy(), float(p.eps[row])
        expected = plain_pgd(
            objective_of(network, objective, p, row), points[0, row], x0, eps, norm, 37, 0.07
        )
        assert np.abs(points[:38, row] - np.stack(expected)).max() < 1e-10


def test_pgds_usual_rate(problem: Callable[..., Problem]) -> None:
    """Without a rate the step is 2.5 eps / steps."""
    network = network_of(2)
    p = rows_of(network, problem, "linf", 0.05, 2)
    a, b = (trace(PGD(steps=10, rate=rate), network, p)[0] for rate in (None, 0.25))
    assert np.array_equal(a, b)
