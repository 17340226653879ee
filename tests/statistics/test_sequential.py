"""The gate: exact error counts on small populations, recomputed bets, simulation."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robbench.statistics.sequential import PairedSequentialTest

values = st.sampled_from([-1, 0, 1])


def fed(test: PairedSequentialTest, drops: list[int]) -> PairedSequentialTest:
    """The test after samples with these drops; without a change both were robust, or neither."""
    for i, drop in enumerate(drops):
        test.add(drop == 1 or (drop == 0 and i % 2 == 0), drop == -1 or (drop == 0 and i % 2 == 0))
    return test


def mixed(up: int, down: int, n: int, seed: int) -> list[int]:
    """A population in random order: `up` lost by the candidate, `down` won by it, n in all."""
    return (
        np.random.default_rng(seed)
        .permutation([1] * up + [-1] * down + [0] * (n - up - down))
        .tolist()
    )


@pytest.mark.parametrize("alpha", [0.15, 0.4])
@pytest.mark.parametrize("max_drop", [0.0, 0.15, 0.5])
def test_errors_over_all_orders_are_at_most_alpha(max_drop: float, alpha: float) -> None:
    """Every population of seven in every order: each wrong answer in at most alpha of orders."""
    orders, wrong = Counter(), Counter()
    for drops in itertools.product((-1, 0, 1), repeat=7):
        population = tuple(sorted(drops))
        orders[population] += 1
        decision = fed(PairedSequentialTest(max_drop, 7, alpha), list(drops)).decision
        wrong[population] += decision != ("regression" if sum(drops) / 7 > max_drop else "pass")
    rates = [wrong[population] / orders[population] for population in orders]
    assert max(rates) <= alpha
    assert alpha < 0.3 or max(rates) > 0  # it does take risks


def test_intervals_over_all_orders_miss_at_most_twice_alpha() -> None:
    """Every population of five in every order: the drop leaves the interval in <= 2 alpha."""
    orders, missed = Counter(), Counter()
    for drops in itertools.product((-1, 0, 1), repeat=5):
        population, test, outside = tuple(sorted(drops)), PairedSequentialTest(0.1, 5, 0.2), False
        for drop in drops:
            low, high = fed(test, [drop]).interval
            outside |= not low <= sum(drops) / 5 <= high
        orders[population] += 1
        missed[population] += outside
    rates = [missed[population] / orders[population] for population in orders]
    assert 0 < max(rates) <= 0.4


def ruled_out(drops: list[int], total: int, n: int, alpha: float) -> bool:
    """Whether the bet on a total above `total` wins, as in the paper: X = (d + 1) / 2 in [0,1]
    of mean m = (total / n + 1) / 2, wealth is the product of 1 + lambda_t (X_t - m_t), with m_t =
    (n m - sum X) / (n - t + 1).
    """
    m, smallest, best = (total / n + 1) / 2, min(1.0, math.sqrt(8 * math.log(1 / alpha) / n)), 0.0
    fractions = [1.0]
    while fractions[-1] > smallest * (1 + 1e-12):
        fractions.append(fractions[-1] / math.sqrt(2))
    wealth, seen = np.ones(len(fractions)), 0.0
    for t, x in enumerate((d + 1) / 2 for d in drops):
        m_t = (n * m - seen) / (n - t)
        if m_t < -1e-9:
            return True
        if m_t > 1e-9:
            wealth *= 1 + np.array(fractions) / m_t * (x - m_t)
        seen += x
        best = max(best, float(wealth.mean()))
    return best >= 1 / alpha or seen > n * m + 1e-9


@pytest.mark.parametrize(
    ("up", "down", "n"), [(12, 1, 60), (3, 3, 60), (0, 0, 40), (0, 9, 60), (30, 5, 60)]
)
def test_the_interval_is_what_the_papers_bets_leave(up: int, down: int, n: int) -> None:
    """At several times, all totals from -n to n tried one by one, against both sides."""
    drops = mixed(up, down, n, 1)
    for seen in (0, 1, n // 3, n - 5, n):
        test = fed(PairedSequentialTest(0.05, n, 0.1), drops[:seen])
        part, mirrored = drops[:seen], [-d for d in drops[:seen]]
        possible = range(sum(part) - (n - seen), sum(part) + n - seen + 1)
        low = min(m for m in possible if not ruled_out(part, m, n, 0.1) or m == possible[-1])
        high = max(m for m in possible if not ruled_out(mirrored, -m, n, 0.1) or m == possible[0])
        assert test.interval == pytest.approx((min(low, high) / n, max(low, high) / n))


@pytest.mark.parametrize("seed", range(4))
def test_the_decision_is_made_when_the_interval_says_so(seed: int) -> None:
    """After each sample: regression iff low is above the tolerance, pass iff high is not."""
    test = PairedSequentialTest(0.04, 120, 0.1)
    for drop in mixed(*((20, 4) if seed % 2 else (3, 3)), 120, seed):
        low, high = fed(test, [drop]).interval
        assert test.decision == ("regression" if low > 0.04 else "pass" if high <= 0.04 else None)


@pytest.mark.parametrize(("up", "wrong"), [(16, "regression"), (17, "pass")])
def test_errors_at_the_tolerance_under_continuous_peeking(up: int, wrong: str) -> None:
    """The hardest populations, at the tolerance and one more: at most 10 % of 400 wrong."""
    decisions = [
        fed(PairedSequentialTest(0.02, 400, 0.1), mixed(up, 8, 400, seed)).decision
        for seed in range(400)
    ]
    assert 0 < decisions.count(wrong) <= 400 * (0.1 + 3 * math.sqrt(0.1 * 0.9 / 400))
    assert None not in decisions


def stop(max_drop: float, drops: list[int]) -> tuple[str | None, int]:
    """The decision and after how many samples it fell."""
    test = PairedSequentialTest(max_drop, len(drops))
    for drop in drops:
        if fed(test, [drop]).decision:
            break
    return test.decision, test.seen


def test_it_stops_early_when_the_answer_is_clear() -> None:
    """Eight points lost, one tolerated: about 140 of 1000 samples; no change: a third."""
    lost = [stop(0.01, mixed(100, 20, 1000, seed)) for seed in range(41)]
    tied = [stop(0.02, mixed(30, 30, 1000, seed)) for seed in range(41)]
    assert {decision for decision, _ in lost} == {"regression"}
    assert sorted(n for _, n in lost)[20] < 200
    assert {decision for decision, _ in tied} == {"pass"}
    assert sorted(n for _, n in tied)[20] < 600
    assert stop(0.01, [0] * 1000) == ("pass", 337)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(values, min_size=1, max_size=40), st.integers(0, 60), st.sampled_from([0.0, 0.01, 0.1])
)
def test_intervals_are_ordered_and_mirror(drops: list[int], unseen: int, max_drop: float) -> None:
    """In [-1,1], never empty, antisymmetric, and exact once all were seen."""
    n = len(drops) + unseen
    test, swapped = PairedSequentialTest(max_drop, n), PairedSequentialTest(max_drop, n)
    low, high = fed(test, drops).interval
    assert -1 <= low <= high <= 1
    assert fed(swapped, [-d for d in drops]).interval == (-high, -low)
    assert test.drop == sum(drops) / len(drops)
    if unseen == 0:
        assert low == high == test.drop
        assert test.decision is not None


def test_intervals_narrow_and_hold_the_mean_so_far() -> None:
    """In random order intervals are nested, and contain the seen mean and the truth."""
    drops, test, before = mixed(90, 50, 800, 5), PairedSequentialTest(0.05, 800), (-1.0, 1.0)
    assert test.interval == before
    assert math.isnan(test.drop)
    for start in range(0, 800, 100):
        low, high = fed(test, drops[start : start + 100]).interval
        assert before[0] <= low <= test.drop <= high <= before[1]
        assert low <= 0.05 <= high
        before = low, high


def test_a_huge_population_is_sampling_with_replacement() -> None:
    """The wealth is then that of a fixed mean; the interval's end is its root, by bisection."""
    drops, n = mixed(60, 20, 500, 2), 10**9
    low, high = fed(PairedSequentialTest(0.01, n), drops).interval
    fractions = 2.0 ** -(np.arange(math.ceil(-math.log2(8 * math.log(20) / n)) + 1) / 2)

    def best(sign: int, mean: float) -> float:
        shares = (1 + sign * np.array(drops)) / (1 + sign * mean)
        with np.errstate(divide="ignore"):
            return float(
                np.exp(np.log(1 + fractions[:, None] * (shares - 1)).cumsum(1)).mean(0).max()
            )

    assert best(1, low - 1e-6) > 20 > best(1, low + 1e-6)
    assert best(-1, high + 1e-6) > 20 > best(-1, high - 1e-6)


def test_the_first_decision_stays() -> None:
    """Ten losses, then ninety wins: a non-random order misleads it, for good."""
    test = fed(PairedSequentialTest(0.0, 100), [1] * 10)
    assert test.decision == "regression"
    assert fed(test, [-1] * 90).decision == "regression"
    assert test.interval == (-0.8, -0.8)


@pytest.mark.parametrize(
    ("max_drop", "decision"), [(0.29, "pass"), (0.28, "regression"), (0.2899999, "regression")]
)
def test_a_drop_equal_to_the_tolerance_passes(max_drop: float, decision: str) -> None:
    """29 of 100 is 0.29, although 0.29 * 100 < 29; in an order that is unclear before."""
    test = fed(PairedSequentialTest(max_drop, 100, 1e-9), mixed(29, 0, 100, 0))
    assert test.decision == decision


def test_a_hundred_thousand_samples() -> None:
    """Nearly lost wealth stays finite, and one sample before the end two answers are left."""
    test = fed(PairedSequentialTest(0.01, 100_000), mixed(9_000, 6_000, 99_999, 0))
    low, high = test.interval
    assert test.decision == "regression"
    assert high - low <= 2e-5
    assert low <= 0.03 <= high


def test_what_it_refuses() -> None:
    """Tolerances, populations, errors and verdicts that make no sense, and a sample too many."""
    for arguments in [
        (-0.1, 10),
        (1.0, 10),
        (math.nan, 10),
        (0.1, 0),
        (0.1, 10, 0.0),
        (0.1, 10, 1.0),
    ]:
        with pytest.raises(ValueError):
            PairedSequentialTest(*arguments)
    test = PairedSequentialTest(0.1, 1)
    with pytest.raises(ValueError, match="0 or 1"):
        test.add(2, 0)
    test.add(np.True_, np.False_)
    with pytest.raises(ValueError, match="all 1 samples"):
        test.add(True, True)
