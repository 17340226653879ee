"""Change points: against McNemar's test, the error rate without a change, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from robbench.statistics.change_points import change_points
from robbench.statistics.proportions import mcnemar_exact


def runs(
    rng: np.random.Generator, rates: Sequence[float], n: int, alike: float
) -> NDArray[np.bool_]:
    """Verdicts [T,n] of runs at these rates, whose samples' difficulties are `alike` in [0,1]."""
    shared = rng.normal(size=n) * np.sqrt(alike)
    own = rng.normal(size=(len(rates), n)) * np.sqrt(1 - alike)
    limits = np.array([NormalDist().inv_cdf(rate) for rate in rates])
    verdicts: NDArray[np.bool_] = shared + own < limits[:, None]
    return verdicts


@pytest.mark.parametrize(("lost", "won"), [(12, 3), (9, 1), (6, 0), (20, 19), (0, 7)])
def test_for_two_runs_it_is_mcnemars_test(lost: int, won: int) -> None:
    """The same p value as the sum over all outcomes, up to 1,999 draws."""
    verdicts = np.zeros((2, 100), bool)
    verdicts[0, :lost] = verdicts[1, lost : lost + won] = verdicts[:, 60:] = True
    exact = mcnemar_exact(lost, won)
    found = change_points(verdicts, alpha=0.999)
    assert len(found) == (exact < 0.999)
    if found:
        assert found[0][:3] == (1, 0, 1)
        assert found[0].p == pytest.approx(exact, abs=4 * np.sqrt(exact / 2000) + 0.001)


@pytest.mark.parametrize(
    ("n_runs", "n", "rate", "alike"),
    [(2, 100, 0.5, 0.8), (10, 100, 0.9, 0.9), (10, 60, 0.5, 0.9), (20, 100, 0.97, 0.8)],
)
def test_without_a_change_it_errs_at_its_rate_at_most(
    n_runs: int, n: int, rate: float, alike: float
) -> None:
    """150 rows of runs of one rate, half robust or nearly all: at 5 % fewer than 15 (p < 0.01)."""
    rng = np.random.default_rng(n_runs)
    wrong = sum(bool(change_points(runs(rng, [rate] * n_runs, n, alike))) for _ in range(150))
    assert wrong < 15


def test_other_samples_at_the_same_rate_are_no_change() -> None:
    """Half the runs keep one set of samples, half another one of the same size on average."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(150):
        pair = rng.random((2, 100)) < 0.5
        wrong += bool(change_points(np.repeat(pair, [4, 6], axis=0)))
    assert wrong < 15


@pytest.mark.parametrize("drop", [0.05, 0.15, -0.1])
def test_a_real_change_is_found_and_put_right(drop: float) -> None:
    """Of 40 rows of runs nearly all have one change, its stretch holds it, and mostly the place."""
    rng = np.random.default_rng(1)
    found = [change_points(runs(rng, [0.7] * 8 + [0.7 - drop] * 7, 500, 0.9)) for _ in range(40)]
    assert sum(len(one) == 1 for one in found) >= 36
    assert sum(any(each.first < 8 <= each.last for each in one) for one in found) >= 38
    assert sum(any(each.place == 8 for each in one) for one in found) >= 34


def test_several_changes_are_told_apart() -> None:
    """Down, up and down again: each with the place of its own."""
    rng = np.random.default_rng(5)
    rates = [0.8] * 6 + [0.6] * 5 + [0.75] * 6 + [0.5]
    found = change_points(runs(rng, rates, 600, 0.9))
    assert [one.place for one in found] == [6, 11, 17]


def test_what_has_no_change() -> None:
    """No run, one run, equal runs, no sample."""
    for shape in ((0, 5), (1, 9), (6, 0)):
        assert change_points(np.ones(shape, bool)) == []
    assert change_points(np.repeat([[True, False, True]], 7, axis=0)) == []


def test_it_repeats_and_refuses() -> None:
    """The same seed gives the same answer; alpha is a probability, verdicts have two axes."""
    verdicts = runs(np.random.default_rng(2), [0.7, 0.7, 0.6, 0.6], 300, 0.9)
    assert change_points(verdicts, seed=4) == change_points(verdicts, seed=4)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="alpha"):
            change_points(verdicts, alpha=wrong)
    with pytest.raises(ValueError, match="verdicts"):
        change_points(verdicts[0])
