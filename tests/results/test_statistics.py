"""Wilson and McNemar against scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from robbench.results.statistics import mcnemar_exact, wilson


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20_000), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_is_scipys(n: int, data: st.DataObject, level: float) -> None:
    """The interval is that of scipy for any k of n and level."""
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-15)


def test_wilson_without_samples_excludes_nothing() -> None:
    """N = 0 is the whole range."""
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_ends_are_exact() -> None:
    """All or none seen gives a bound of exactly one or zero."""
    assert all(wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 for n in range(1, 300))


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (1, -1, 0.9)])
def test_wilson_refuses_what_is_no_proportion(k: int, n: int, level: float) -> None:
    """Impossible counts and levels are errors."""
    with pytest.raises(ValueError):
        wilson(k, n, level)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_binomial_test(b: int, c: int) -> None:
    """The p value is that of the two-sided binomial test, in either order."""
    expected = binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-10)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


@pytest.mark.parametrize(
    ("b", "c"),
    [(50_000, 50_000), (49_900, 50_100), (49_000, 51_000), (45_000, 55_000), (0, 1000), (4_999, 5_001), (4_900, 5_099)],
)
def test_mcnemar_holds_for_many_changes(b: int, c: int) -> None:
    """Also for 100,000 changed samples, where exact integers give way to logarithms, and for tiny p values."""
    assert mcnemar_exact(b, c) == pytest.approx(binomtest(min(b, c), b + c).pvalue, rel=1e-7)


def test_mcnemar_underflows_to_zero() -> None:
    """A p value below the smallest number is zero, not an error."""
    assert mcnemar_exact(0, 5000) == 0.0
    assert mcnemar_exact(0, 500_000) == 0.0
    assert math.isclose(mcnemar_exact(0, 1000), 2.0**-999)


def test_mcnemar_small_cases_by_hand() -> None:
    """Nothing changed: 1; five to none: 2/32; a negative count is an error."""
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 5) == 0.0625
    assert mcnemar_exact(7, 7) == 1.0
    with pytest.raises(ValueError):
        mcnemar_exact(-1, 3)
