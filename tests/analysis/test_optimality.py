"""Optimality against the area under a robust accuracy curve integrated on a fine grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robbench.analysis.input_margins import input_margins
from robbench.analysis.optimality import area, optimality, optimality_of_run
from robbench.store.run import Run


def test_the_best_attack_has_one_and_none_has_zero() -> None:
    """By definition; the samples that are wrong at the start take no part in it."""
    best = [0.0, 0.5, 1.0, 2.0]
    assert optimality(best, best) == 1
    assert optimality([0.0, math.inf, math.inf, math.inf], best) == 0


def test_by_hand() -> None:
    """Best 1 and 3, found 2 and 3: A* = 2, A = 2.5, c d_max = 3."""
    assert optimality([2.0, 3.0], [1.0, 3.0]) == pytest.approx(1 - 0.5 / 1)
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


IDS = [1000 + 7 * i for i in range(8)]


def of(run: Run, runs: list[Run], ids: list[int] = IDS) -> tuple[float | None, dict[str, Any]]:
    """A run's optimality among all, on some samples."""
    return optimality_of_run(run.info, runs, input_margins(ids, runs)[run.info["norm"]])


def test_of_a_run_among_others(run: Callable[..., Run]) -> None:
    """The function on the distances themselves; a run inside a budget can be the better one."""
    first = run("l2:inf", [0.0, 1.0, 2.0, 4.0, None])
    second = run("l2:inf", [0.0, 1.5, 1.0, 4.0, 3.0])
    inside = run("l2:0.5", [0.0, 0.5, None, None, None])
    best = [0.0, 0.5, 1.0, 4.0, 3.0]
    value, detail = of(first, [first, second, inside], IDS[:5])
    assert value == pytest.approx(optimality([0.0, 1.0, 2.0, 4.0, math.inf], best))
    assert detail == {
        "other_runs": 2,
        "other_minimum_norm_runs": 1,
        "compared": 5,
        "clean_accuracy": 0.8,
        "largest_distance": 4.0,
        "not_found_by_any": 0,
    }


def test_only_what_another_run_attacked_counts(run: Callable[..., Run]) -> None:
    """On the other samples the run is the best because it is alone."""
    whole = run("l2:inf", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    part = run("l2:inf", [0.5, 2.0, 3.0])
    value, detail = of(whole, [whole, part])
    assert value == pytest.approx(optimality([1.0, 2.0, 3.0], [0.5, 2.0, 3.0]))
    assert detail["compared"] == 3
    assert of(part, [whole, part], IDS[:3])[0] == 1


@pytest.mark.parametrize("threat", [None, "linf:inf"])
def test_alone_it_would_be_the_best_by_construction(
    run: Callable[..., Run], threat: str | None
) -> None:
    """No other run, or one in another norm: null, with the reason."""
    runs = [run("l2:inf", [1.0, 2.0])] + ([run(threat, [0.1, 0.2])] if threat else [])
    value, detail = of(runs[0], runs, IDS[:2])
    assert value is None
    assert "no other run" in detail["reason"]


def test_inside_a_budget_there_is_none(run: Callable[..., Run]) -> None:
    """Nor where the best distances are equal."""
    inside, free = run("l2:3", [1.0, 2.0]), run("l2:inf", [1.0, 1.0])
    value, detail = of(inside, [inside, free], IDS[:2])
    assert value is None
    assert "l2:inf" in detail["reason"]
    value, detail = of(free, [inside, free], IDS[:2])
    assert value is None
    assert "equal" in detail["reason"]
