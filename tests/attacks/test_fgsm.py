"""FGSM against a plain transcription of the paper: one sample, float64, numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robbench.attacks.fgsm import FGSM
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


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm(norm: str, problem: Callable[..., Problem]) -> None:
    """FGSM starts at the clean input and makes one steepest step of length eps."""
    network = network_of(3)
    p = rows_of(network, problem, norm, 0.1, 3)
    points, _ = trace(FGSM(), network, p)
    for row in range(ROWS):
        x0 = p.x0[row].numpy()
        expected = plain_pgd(
            objective_of(network, "cross-entropy", p, row), x0, x0, float(p.eps[row]), norm, 1, 1.0
        )
        assert np.abs(points[:2, row] - np.stack(expected)).max() < 1e-12
