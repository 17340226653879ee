"""The random numbers of a sample follow the distributions they are named after."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robbench.threat.corruptions.draws import Draws

N = 4000


def test_calls_follow_each_other_and_a_key_repeats_them():
    draws, again, other = Draws(5), Draws(5), Draws(6)
    first, second = draws.uniform((9,)), draws.uniform((9,))
    assert not np.array_equal(first, second)
    assert np.array_equal(again.uniform((9,)), first)
    assert np.array_equal(again.uniform((9,)), second)
    assert not np.array_equal(other.uniform((9,)), first)


@pytest.mark.parametrize(
    ("drawn", "law"),
    [
        (Draws(1).uniform((N,), -3, 5), stats.uniform(-3, 8)),
        (Draws(2).normal((N,)), stats.norm()),
    ],
)
def test_continuous_numbers_pass_kolmogorov_and_smirnov(drawn, law):
    """Fixed keys: the test cannot fail by chance."""
    assert stats.kstest(drawn, law.cdf).pvalue > 0.01


def test_whole_numbers_reach_both_ends_evenly():
    counts = np.bincount(Draws(3).integers(-2, 2, (N,)) + 2, minlength=4)
    assert stats.chisquare(counts).pvalue > 0.01
    assert counts.sum() == N


@pytest.mark.parametrize("mean", [0.3, 3.0, 500.0])
def test_poisson_numbers_are_the_quantiles_of_scipy(mean: float):
    """The same uniform numbers, by another way."""
    drawn = Draws(4).poisson(np.full((N,), mean))
    assert np.array_equal(drawn, stats.poisson.ppf(Draws(4).uniform((N,)), mean))


def test_each_entry_has_its_own_mean():
    mean = np.array([[0.0, 200.0], [50.0, 0.0]])
    drawn = Draws(8).poisson(mean)
    assert drawn.shape == mean.shape
    assert drawn[0, 0] == drawn[1, 1] == 0
    assert abs(drawn[0, 1] - 200) < 70
    assert abs(drawn[1, 0] - 50) < 35
