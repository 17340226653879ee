"""The hard-margin SVM against margins known by construction, and an independent solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robbench.metrics.feature_margin import (
    boundary_distances,
    pair_margins,
)
from robbench.metrics.svm import largest_margin


def clouds(gap: float, n: int = 40, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds with best margin gap / 2, held by two pairs that face each other on axis one."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    one[:, 0], other[:, 0] = gap / 2 + np.abs(one[:, 0]), -gap / 2 - np.abs(other[:, 0])
    one[0], other[0] = np.eye(d)[0] * gap / 2, -np.eye(d)[0] * gap / 2
    return one, other


@pytest.mark.parametrize("gap", [3.0, 0.1, 0.004])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_largest_margin_is_known_by_construction(gap: float, scale: float) -> None:
    """Half the gap between the nearest points of two hulls, at any scale and far off."""
    one, other = (scale * points + 100 * scale for points in clouds(gap))
    best = largest_margin(one, other)
    assert best.solved
    assert best.low <= best.high
    assert best.high == pytest.approx(scale * gap / 2, rel=2e-3)


def test_the_model_of_the_largest_margin_has_ratio_one_and_a_rotated_one_less() -> None:
    """A head along the best direction is optimal; a turned one has less, a wrong one < 0."""
    one, other = clouds(2.0)
    labels = np.repeat([0, 1], [len(one), len(other)])
    h = torch.tensor(np.concatenate([one, other]))
    best = largest_margin(one, other)

    def ratio(*direction: float) -> float:
        head = nn.Linear(6, 2).double()
        with torch.no_grad():
            head.bias.zero_()
            head.weight.copy_(torch.tensor([direction, [-v for v in direction]]))
        distances = boundary_distances(head, h, torch.tensor(labels)).numpy()
        return float(pair_margins(distances, labels, [(0, 1)])[0]) / best.high

    assert ratio(5, 0, 0, 0, 0, 0) == pytest.approx(1, rel=1e-3)
    assert 0 < ratio(5, 0.5, 0, 0, 0, 0) < 0.99
    assert ratio(-1, 0, 0, 0, 0, 0) < 0


def test_clouds_that_overlap_are_not_separable() -> None:
    """Also when there are few points, when one lies on the other, and when all are the same."""
    rng = np.random.default_rng(0)
    for one, other in (
        (rng.normal(size=(60, 3)), rng.normal(size=(60, 3))),
        (np.zeros((1, 2)), np.zeros((1, 2))),
        (np.array([[0.0], [2.0]]), np.array([[1.0]])),
    ):
        best = largest_margin(one, other)
        assert not best.separable
        assert not best.solved


def test_an_empty_class_is_an_error() -> None:
    """There is nothing to separate."""
    with pytest.raises(ValueError, match="no samples"):
        largest_margin(np.zeros((0, 2)), np.ones((1, 2)))


def test_against_an_independent_solver() -> None:
    """Random separable points: the same optimum as a quadratic program solved by scipy."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(12, 2)) + 3, rng.normal(size=(12, 2)) - 3
    points, side = np.concatenate([one, other]), np.repeat([1.0, -1.0], 12)
    solved = minimize(
        lambda v: v[:2] @ v[:2] / 2,
        np.array([1.0, 1.0, 0.0]),
        jac=lambda v: np.array([v[0], v[1], 0.0]),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda v: side * (points @ v[:2] + v[2]) - 1},
    )
    assert largest_margin(one, other).high == pytest.approx(
        1 / np.linalg.norm(solved.x[:2]), rel=2e-3
    )
