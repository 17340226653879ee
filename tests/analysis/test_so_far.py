"""What is said of robust accuracy while samples are undecided holds however they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robbench.analysis.so_far import so_far


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.data())
def test_the_final_rate_and_its_interval_lie_within(robust, broken, undecided, data):
    n = robust + broken + undecided
    if not n:
        assert so_far(0, 0, 0)[:2] == (0, 0)
        return
    now = so_far(robust, broken, n)
    final = robust + data.draw(st.integers(0, undecided))
    low, high = binomtest(final, n).proportion_ci(method="wilson")
    assert now.low <= final / n <= now.high
    assert now.interval_low <= low + 1e-12
    assert high <= now.interval_high + 1e-12


def test_once_all_are_decided_nothing_is_left_open():
    low, high = binomtest(30, 100).proportion_ci(method="wilson")
    assert so_far(30, 70, 100) == pytest.approx((0.3, 0.3, low, high))


def test_the_share_among_the_decided_is_not_claimed():
    """Of 100 samples 40 have fallen and none is through yet: nothing below 60 % is said."""
    now = so_far(0, 40, 100)
    assert (now.low, now.high) == (0, 0.6)
    assert now.interval_low == 0


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="5 robust and 6 broken of 10"):
        so_far(5, 6, 10)
