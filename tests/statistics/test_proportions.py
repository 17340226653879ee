"""Intervals of proportions, McNemar and Holm against scipy and their definitions."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, hypergeom

from robbench.statistics.proportions import (
    clopper_pearson,
    holm,
    mcnemar_exact,
    most_in_population,
    wilson,
)


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


@pytest.mark.parametrize(
    ("k", "n", "level"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (1, -1, 0.9)]
)
def test_wilson_refuses_what_is_no_proportion(k: int, n: int, level: float) -> None:
    """Impossible counts and levels are errors."""
    with pytest.raises(ValueError):
        wilson(k, n, level)


def test_most_in_population_is_the_search_of_all_numbers() -> None:
    """For every draw of small populations: the largest number whose lower tail is above 0.05."""
    for size in range(13):
        for n in range(size + 1):
            for k in range(n + 1):
                draws = math.comb(size, n)
                tails = {
                    most: sum(
                        math.comb(most, j) * math.comb(size - most, n - j) for j in range(k + 1)
                    )
                    for most in range(size + 1)
                }
                kept = [most for most in tails if k <= most and 20 * tails[most] > draws]
                assert most_in_population(k, n, size) == max(kept)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_most_in_population_is_at_the_end_of_scipys_tail(data: st.DataObject) -> None:
    """The number is still likely enough by scipy's distribution, the next one is not."""
    size = data.draw(st.integers(1, 3000))
    n = data.draw(st.integers(0, size))
    k = data.draw(st.integers(0, n))
    most = most_in_population(k, n, size)
    assert hypergeom.cdf(k, size, most, n) > 0.05 - 1e-9
    assert most == size or hypergeom.cdf(k, size, most + 1, n) <= 0.05 + 1e-9


@pytest.mark.parametrize(("k", "n", "size"), [(40, 1000, 6000), (700, 1000, 2000), (1, 5, 20_000)])
def test_most_in_population_of_thousands_is_the_last_number(k: int, n: int, size: int) -> None:
    """By whole numbers: it is still likely enough, the next one is not."""
    most, draws = most_in_population(k, n, size), math.comb(size, n)
    tails = [
        sum(math.comb(m, j) * math.comb(size - m, n - j) for j in range(k + 1))
        for m in (most, most + 1)
    ]
    assert 20 * tails[0] > draws >= 20 * tails[1]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_most_in_population_is_never_above_clopper_and_pearsons(data: st.DataObject) -> None:
    """A draw without replacement never tells less than one with; all drawn tells all."""
    size = data.draw(st.integers(1, 400))
    n = data.draw(st.integers(0, size))
    k = data.draw(st.integers(0, n))
    most = most_in_population(k, n, size)
    assert k <= most <= clopper_pearson(k, n, 0.9)[1] * size + 1e-9
    assert most_in_population(k, size, size) == k


@pytest.mark.parametrize(("k", "n"), [(0, 300), (3, 300), (299, 300), (300, 300), (0, 0)])
def test_most_in_population_of_many_is_clopper_and_pearsons(k: int, n: int) -> None:
    """In a population of ten million 300 draws are as good as with replacement."""
    share = most_in_population(k, n, 10**7) / 10**7
    assert share == pytest.approx(clopper_pearson(k, n, 0.9)[1], abs=1e-5)


def test_most_in_population_covers() -> None:
    """Of all draws of a population at most 5 % give a number below the true one."""
    size, n = 60, 20
    for most in range(size + 1):
        missed = sum(
            hypergeom.pmf(k, size, most, n)
            for k in range(max(0, n + most - size), min(n, most) + 1)
            if most_in_population(k, n, size) < most
        )
        assert missed <= 0.05 + 1e-12


@pytest.mark.parametrize(("k", "n", "size"), [(-1, 5, 9), (6, 5, 9), (1, 5, 4)])
def test_most_in_population_refuses_what_is_no_draw(k: int, n: int, size: int) -> None:
    """More found than drawn, more drawn than there are."""
    with pytest.raises(ValueError):
        most_in_population(k, n, size)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_scipys_binomial_test(b: int, c: int) -> None:
    """The p value is that of the two-sided binomial test, in either order."""
    expected = binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-10)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


@pytest.mark.parametrize(
    ("b", "c"),
    [
        (50_000, 50_000),
        (49_900, 50_100),
        (49_000, 51_000),
        (45_000, 55_000),
        (0, 1000),
        (4_999, 5_001),
        (4_900, 5_099),
    ],
)
def test_mcnemar_holds_for_many_changes(b: int, c: int) -> None:
    """Also for 100,000 changed samples, where logarithms are used, and tiny p values."""
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


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 20_000), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_clopper_pearson_is_scipys(n: int, data: st.DataObject, level: float) -> None:
    """The interval is scipy's binomial test's, and quantiles of two Beta distributions."""
    k = data.draw(st.integers(0, n))
    low, high = clopper_pearson(k, n, level)
    expected = binomtest(k, n).proportion_ci(level, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    if 0 < k < n:
        ends = beta.ppf((1 - level) / 2, k, n - k + 1), beta.ppf((1 + level) / 2, k + 1, n - k)
        assert (low, high) == pytest.approx(ends, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3_000), st.data())
def test_intervals_of_proportions_are_ordered_symmetric_and_narrow(
    n: int, data: st.DataObject
) -> None:
    """They contain k/n, are symmetric, grow with the level and shrink with samples."""
    k = data.draw(st.integers(0, n))
    for interval in (wilson, clopper_pearson):
        low, high = interval(k, n)
        assert 0 <= low <= k / n <= high <= 1
        assert interval(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
        wide, narrow = interval(k, n, 0.99), interval(4 * k, 4 * n)
        assert wide[0] <= low <= high <= wide[1]
        assert narrow[1] - narrow[0] < high - low


@pytest.mark.parametrize("n", [5, 40, 300])
def test_clopper_pearson_never_holds_less_often_than_it_says(n: int) -> None:
    """Exact coverage over all outcomes: at least 90 % always; Wilson's on average only."""
    intervals = [clopper_pearson(k, n, 0.9) for k in range(n + 1)]
    for p in (0.001, 0.03, 0.11, 0.3, 0.5, 0.77, 0.999):
        assert (
            sum(binom.pmf(k, n, p) for k, (low, high) in enumerate(intervals) if low <= p <= high)
            >= 0.9
        )


def test_clopper_pearson_ends() -> None:
    """Nothing seen excludes nothing; none of n leaves up to 1 - tail^(1/n); else an error."""
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(0, 100) == (0.0, pytest.approx(1 - 0.025**0.01, rel=1e-12))
    assert clopper_pearson(100, 100) == (pytest.approx(0.025**0.01, rel=1e-12), 1.0)
    for k, n, level in [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)]:
        with pytest.raises(ValueError):
            clopper_pearson(k, n, level)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.02, 0.05, 1.0])), max_size=12
    ),
    st.floats(0.001, 0.5),
)
def test_holm_is_the_step_down_procedure(p_values: list[float], alpha: float) -> None:
    """Adjusted values up to alpha are exactly what Holm's procedure rejects, step by step."""
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if (len(p_values) - rank) * p_values[i] > alpha:
            break
        rejected.add(i)
    adjusted = holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    assert holm(p_values[::-1]) == adjusted[::-1]


def test_holm_by_hand() -> None:
    """The textbook case, in the order given; nothing to adjust; what is no p value."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.3]) == [0.3]
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="p value"):
            holm([0.5, wrong])


def test_holm_keeps_the_familywise_error() -> None:
    """Of ten tests, three true: a false finding in at most 5 % of 4000 families."""
    draw = random.Random(1)
    wrong = plain = 0
    for _ in range(4000):
        p_values = [draw.random() ** 8 for _ in range(3)] + [draw.random() for _ in range(7)]
        wrong += min(holm(p_values)[3:]) <= 0.05
        plain += min(p_values[3:]) <= 0.05
    assert wrong / 4000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
    assert plain / 4000 > 0.25


def test_statistics_import_nothing_heavy() -> None:
    """A comparison starts at once: numpy and scipy come in only where they are needed."""
    modules = ", ".join(
        f"robbench.statistics.{name}"
        for name in ("proportions", "bootstrap", "sequential", "power")
    )
    code = (
        f"import sys, {modules}; sys.exit(bool({{'numpy', 'scipy', 'torch'}} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
