"""The paired test with a tolerance: against full sums, McNemar, and its error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from robbench.statistics.paired import drop_interval, drop_p_values
from robbench.statistics.proportions import mcnemar_exact


def score(lost: int, won: int, n: int, drop: float) -> float:
    """Tango's score with the likelihood maximised by search instead of by formula."""

    def unlikely(q: float) -> float:
        parts = ((lost, q + drop), (won, q), (n - lost - won, 1 - 2 * q - drop))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    q = minimize_scalar(
        unlikely, bounds=(max(0, -drop), (1 - drop) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    return (lost - won - n * drop) / math.sqrt(n * (2 * q + drop - drop**2))


def p_at_most(lost: int, won: int, n: int, drop: float) -> float:
    """The largest tail probability over shares in their 99.9 % interval, summed in full."""
    seen = score(lost, won, n, drop)
    outcomes = [
        (a, b, n - a - b)
        for a in range(n + 1)
        for b in range(n + 1 - a)
        if score(a, b, n, drop) >= seen - 1e-7
    ]
    low, high = binomtest(lost + won, n).proportion_ci(0.999, "exact")
    shares = np.linspace(max(low, abs(drop), 1e-6), high, 200)
    return max(
        multinomial.pmf(outcomes, n, [(s + drop) / 2, (s - drop) / 2, 1 - s]).sum() for s in shares
    )


@pytest.mark.parametrize(
    ("lost", "won", "n", "drop"),
    [(5, 0, 12, 0.05), (3, 3, 12, 0.3), (0, 4, 12, -0.1), (6, 1, 14, 0.1), (2, 1, 10, 0.2)],
)
def test_p_values_against_a_sum_over_all_outcomes(lost: int, won: int, n: int, drop: float) -> None:
    """The p value is the largest such chance, plus that of having ruled out the true share."""
    assert drop_p_values(lost, won, n, drop)[0] == pytest.approx(
        p_at_most(lost, won, n, drop) + 0.001, rel=0.01
    )


def test_it_is_mcnemars_test_where_nothing_is_tolerated() -> None:
    """With no tolerated drop it agrees with the exact McNemar test, slightly less cautious."""
    for lost, won in [(15, 5), (30, 12), (9, 1), (40, 40)]:
        ours, exact = drop_p_values(lost, won, 500, 0.0)[0], mcnemar_exact(lost, won) / 2
        assert 0.4 * exact <= ours <= exact + 0.03


def test_no_change_at_all_follows_the_rule_of_three() -> None:
    """Without any change n samples rule out a drop of 1 - alpha^(1/n), up or down."""
    for n in (50, 300, 2000):
        low, high = drop_interval(0, 0, n)
        assert low == -high
        assert high == pytest.approx(1 - 0.05 ** (1 / n), rel=0.02)
    assert drop_p_values(0, 0, 400, 0.01)[1] < 0.05 < drop_p_values(0, 0, 250, 0.01)[1]


@pytest.mark.parametrize(
    ("share", "drop"), [(0.03, 0.01), (0.1, 0.02), (0.3, 0.02), (0.02, 0.02), (0.5, 0.1)]
)
def test_errors_are_as_rare_as_promised(share: float, drop: float) -> None:
    """At just the tolerated drop either answer comes in about alpha of cases, never more."""
    n, alpha = 150, 0.05
    wins = {}
    counts = np.random.default_rng(0).multinomial(
        n, [(share + drop) / 2, (share - drop) / 2, 1 - share], size=1500
    )
    for lost, won in {(int(a), int(b)) for a, b, _ in counts}:
        wins[lost, won] = [p <= alpha for p in drop_p_values(lost, won, n, drop)]
    rates = np.mean([wins[int(a), int(b)] for a, b, _ in counts], axis=0)
    assert (rates <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 1500)).all()
    assert rates.max() > 0.01


def test_many_samples_are_as_the_normal_test_says() -> None:
    """Counts in the thousands: both sums agree with Tango's normal test and the interval."""
    for lost, won, n in [(2600, 2350, 100_000), (2700, 2400, 100_000)]:
        for p, tail in zip(drop_p_values(lost, won, n, 0.001), (norm.sf, norm.cdf), strict=True):
            assert p == pytest.approx(tail(score(lost, won, n, 0.001)) + 0.001, abs=3e-3)
        low, high = drop_interval(lost, won, n)
        assert drop_p_values(lost, won, n, low)[0] == pytest.approx(0.05, abs=2e-3)
        assert drop_p_values(lost, won, n, high)[1] == pytest.approx(0.05, abs=2e-3)


def test_intervals_mirror_and_hold_the_drop() -> None:
    """Exchanging the two runs turns the interval round; extremes stay inside [-1,1]."""
    for lost, won, n in [(0, 0, 1), (1, 0, 1), (20, 0, 20), (7, 3, 40), (30, 1, 200)]:
        low, high = drop_interval(lost, won, n)
        assert -1 <= low <= (lost - won) / n <= high <= 1
        assert drop_interval(won, lost, n) == pytest.approx((-high, -low))


def test_what_is_no_pair_is_refused() -> None:
    """Counts and levels outside their ranges."""
    for counts in [(-1, 0, 5), (3, 3, 5), (0, 0, 0)]:
        with pytest.raises(ValueError, match="pairs"):
            drop_p_values(*counts, 0.1)
    with pytest.raises(ValueError, match="tolerated"):
        drop_p_values(1, 1, 5, 1.0)
    with pytest.raises(ValueError, match="error probability"):
        drop_interval(1, 1, 5, 0.6)
