"""Optimality against the area under a robust accuracy curve integrated on a fine grid."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.optimality import area, optimality


def test_the_best_attack_has_one_and_none_has_zero() -> None:
    """By definition; the samples that are wrong at the start take no part in it."""
    best = [0.0, 0.5, 1.0, 2.0]
    assert optimality(best, best) == 1
    assert optimality([0.0, math.inf, math.inf, math.inf], best) == 0


def test_by_hand() -> None:
    """Best 1 and 3, found 2 and 3: A* = 2, A = 2.5, c d_max = 3."""
    assert optimality([2.0, 3.0], [1.0, 3.0]) == pytest.approx(1 - 0.5 / 1)
    assert optimality([2.0, 3.0], [1.0, 3.0], end=4.0) == pytest.approx(1 - 0.5 / 2)
    assert optimality([2.0, 5.0], [1.0, 3.0]) == pytest.approx(0.5)  # what is beyond d_max


def test_against_integration() -> None:
    """Riemann sums of both curves, in a case with clean mistakes and failures of the attack."""
    draw = np.random.default_rng(3)
    best = np.where(draw.random(40) < 0.2, 0.0, draw.gamma(2.0, size=40))
    found = np.where(best > 0, best * (1 + draw.exponential(0.2, 40)), 0.0)
    found[best > 0] = np.where(draw.random((best > 0).sum()) < 0.1, math.inf, found[best > 0])
    end, clean = best.max(), (best > 0).mean()
    grid = (np.arange(200_000) + 0.5) / 200_000 * end
    a, least = (
        float((distances[:, None] > grid[None]).mean(0).mean() * end) for distances in (found, best)
    )
    expected = 1 - (a - least) / (clean * end - least)
    assert optimality(found, best) == pytest.approx(expected, abs=1e-4)
    assert area(best, end) == pytest.approx(least, abs=1e-4)


def test_no_distance_to_tell_attacks_apart() -> None:
    """All wrong at the start, all equally far, nothing broken, or no sample."""
    for best in ([0.0, 0.0], [1.0, 1.0], [math.inf, math.inf], []):
        assert math.isnan(optimality(best, best))


@pytest.mark.parametrize(
    ("found", "best"), [([1.0], [2.0]), ([math.nan], [1.0]), ([1.0], [-1.0]), ([1.0], [1.0, 2.0])]
)
def test_refuses_what_cannot_be(found: list[float], best: list[float]) -> None:
    """A distance below the best one, no number, a negative one, lengths that differ."""
    with pytest.raises(ValueError, match="distance"):
        optimality(found, best)
