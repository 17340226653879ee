"""One number of two runs against what it may lose: plain loops, and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robbench.analysis.gate_checks import (
    ROBUST,
    Tolerances,
    class_checks,
    margin_check,
    needed_for_rate,
    rate_check,
)
from robbench.core.errors import UserError
from robbench.statistics.paired import drop_p_values


def _pairs(both: int, lost: int, won: int, neither: int) -> tuple[Any, Any]:
    mine = np.repeat([True, True, False, False], [both, lost, won, neither])
    theirs = np.repeat([True, False, True, False], [both, lost, won, neither])
    order = np.random.default_rng(0).permutation(len(mine))
    return mine[order], theirs[order]


TABLES = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda t: sum(t) > 0)


@settings(max_examples=60)
@given(TABLES, st.sampled_from([0.0, 0.01, 0.05, 0.2]), st.sampled_from([0.01, 0.05, 0.2]))
def test_interval_p_values_and_decision_say_the_same(
    table: tuple[int, int, int, int], tolerance: float, alpha: float
) -> None:
    """A regression is an interval above the tolerance, a pass one below; counts are plain."""
    mine, theirs = _pairs(*table)
    found = rate_check(ROBUST, mine, theirs, tolerance, Tolerances(alpha=alpha))
    n, (both, lost, won, _) = sum(table), table
    assert (found.n, found.lost, found.won) == (n, lost, won)
    assert found.baseline == pytest.approx((both + lost) / n)
    assert found.candidate == pytest.approx((both + won) / n)
    assert found.drop == pytest.approx(found.baseline - found.candidate)
    assert found.low <= found.drop <= found.high
    end = 2**-15  # to which the ends of the interval are searched
    if found.decision == "regression":
        assert found.low > tolerance - end
    elif found.decision == "pass":
        assert found.high < tolerance + end
    else:
        assert found.decision == "undecided"
        assert found.low - end <= tolerance <= found.high + end
    assert (found.needed is None) == (
        found.decision != "undecided" or abs((lost - won) / n - tolerance) < 1e-9
    )
    assert found.needed is None or found.needed > n


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("alpha", [0.005, 0.05, 0.4])
def test_the_few_samples_seen_are_all_won(tolerance: float, alpha: float) -> None:
    """That is far from a regression, and undecided until so many samples are a pass."""
    for n in range(1, 13):
        mine, theirs = np.zeros(n, bool), np.ones(n, bool)
        found = rate_check(ROBUST, mine, theirs, tolerance, Tolerances(alpha=alpha))
        if found.decision == "pass":
            break
        assert (found.decision, found.drop) == ("undecided", -1.0)
        assert found.needed is not None
        assert n < found.needed <= 12
    assert found.decision == "pass"


@given(TABLES, st.floats(0, 0.5))
def test_of_these_samples_nothing_is_uncertain(
    table: tuple[int, int, int, int], tolerance: float
) -> None:
    """The drop is what it is."""
    mine, theirs = _pairs(*table)
    found = rate_check(ROBUST, mine, theirs, tolerance, Tolerances(these_samples=True))
    assert found.low == found.drop == found.high
    assert found.decision == ("regression" if found.drop > tolerance else "pass")
    assert found.needed is found.p_pass is found.p_regression is None


@pytest.mark.parametrize("these", [False, True])
def test_without_a_tolerance_nothing_is_decided(these: bool) -> None:
    """The number is shown all the same."""
    mine, theirs = _pairs(10, 20, 1, 5)
    found = rate_check(ROBUST, mine, theirs, None, Tolerances(these_samples=these))
    assert (found.decision, found.drop) == ("not shown", 19 / 36)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [(0.05, "pass"), (0.0, "pass"), pytest.param(0.12, "regression", marks=pytest.mark.slow)],
)
def test_an_answer_is_wrong_as_rarely_as_it_says(truth: float, answer: str) -> None:
    """At a true drop on the limit and on either side of it, in 400 simulated gates."""
    rng, tolerance, alpha, wrong = np.random.default_rng(1), 0.05, 0.1, 0
    for _ in range(400):
        lost, won, _ = rng.multinomial(150, [truth + 0.04, 0.04, 0.92 - truth])
        mine, theirs = _pairs(0, int(lost), int(won), int(150 - lost - won))
        found = rate_check(ROBUST, mine, theirs, tolerance, Tolerances(alpha=alpha))
        wrong += found.decision not in (answer, "undecided")
    # Three deviations of 400 draws above alpha.
    assert wrong / 400 < alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)


def test_users_give_points() -> None:
    """Rates are a hundredth of them, None stays, the margin keeps its unit."""
    found = Tolerances.in_points(robust=2.0, clean=None, per_class=50.0, margin=2.0, alpha=0.1)
    assert found == Tolerances(robust=0.02, clean=None, per_class=0.5, margin=2.0, alpha=0.1)
    with pytest.raises(UserError, match="below 100 points, not 100"):
        Tolerances.in_points(robust=100.0)


VALUES = st.lists(
    st.tuples(
        st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf, -math.inf, math.nan]),
        st.sampled_from([-1.0, 0.25, 1.0, math.inf, math.nan]),
    ),
    min_size=1,
    max_size=15,
)


@given(VALUES, st.sampled_from([0.0, 0.3, 1.0]))
def test_medians_of_the_pairs_that_are_known(
    values: list[tuple[float, float]], tolerance: float
) -> None:
    """Of these samples: the difference of the medians of two sorted lists, 0 if both are inf."""
    known = [(a, b) for a, b in values if not (math.isnan(a) or math.isnan(b) or a == -math.inf)]
    mine, theirs = (np.array(column) for column in zip(*values, strict=True))
    chosen = Tolerances(margin=tolerance, these_samples=True)
    if not known:
        with pytest.raises(UserError, match="no sample has a margin"):
            margin_check("median margin", mine, theirs, tolerance, chosen)
        return
    medians = []
    for column in zip(*known, strict=True):
        ordered, n = sorted(column), len(column)
        medians.append((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    drop = 0.0 if medians[0] == medians[1] else medians[0] - medians[1]
    found = margin_check("median margin", mine, theirs, tolerance, chosen)
    assert (found.n, found.baseline, found.candidate) == (len(known), *medians)
    assert found.drop == drop
    assert found.decision == ("regression" if drop > tolerance else "pass")


@pytest.mark.parametrize(
    ("shift", "tolerance", "decision"),
    [(0.5, 0.2, "regression"), (0.0, 0.2, "pass"), (0.2, 0.2, "undecided"), (-1.0, 0.0, "pass")],
)
def test_a_common_shift_is_the_drop_of_the_median(
    shift: float, tolerance: float, decision: str
) -> None:
    """Every sample loses the same but for some noise; the interval holds the shift."""
    rng = np.random.default_rng(0)
    mine = rng.normal(2, 1, 400)
    theirs = mine - shift + rng.normal(0, 0.5, 400)
    found = margin_check("median margin", mine, theirs, tolerance, Tolerances(margin=tolerance))
    assert found.low <= shift <= found.high
    assert found.decision == decision
    assert found.drop == pytest.approx(float(np.median(mine) - np.median(theirs)))
    assert (found.needed is None) == (decision != "undecided")


@pytest.mark.parametrize(("alpha", "fewest"), [(0.005, 8), (0.05, 5), (0.3, 2)])
def test_a_median_of_few_samples_is_undecided(alpha: float, fewest: int) -> None:
    """Until all of them on one side of the median are less likely than alpha: 1 / 2^n."""
    chosen = Tolerances(margin=0.1, alpha=alpha)
    for n in range(1, fewest):
        found = margin_check("median margin", np.ones(n), np.zeros(n), 0.1, chosen)
        assert (found.decision, found.drop, found.needed) == ("undecided", 1.0, fewest)
        assert (found.low, found.high) == (-math.inf, math.inf)
    found = margin_check("median margin", np.ones(fewest), np.zeros(fewest), 0.1, chosen)
    assert (found.decision, found.needed) == ("regression", None)


@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_an_answer_about_a_median_is_wrong_about_as_rarely_as_it_says(noise: float) -> None:
    """Of 300 gates whose true drop is on the limit, alpha pass and alpha fail at most."""
    found = []
    for seed in range(300):
        mine, moved = np.random.default_rng(seed).normal(size=(2, 60))
        theirs = mine - 0.1 + noise * moved  # the medians are 0 and -0.1
        found.append(margin_check("median margin", mine, theirs, 0.1, Tolerances(margin=0.1)))
    for answer in ("pass", "regression"):
        wrong = sum(check.decision == answer for check in found) / 300
        # Three deviations of 300 draws above alpha.
        assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_more_samples_as_advised_decide_a_median() -> None:
    """In most of some fresh data sets of the advised size; never fewer than there are."""
    decided, advised = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)

        def gate(n: int, rng: np.random.Generator = rng) -> Any:
            mine = rng.normal(2, 1, n)
            theirs = mine - 0.15 + rng.normal(0, 0.5, n)
            return margin_check("median margin", mine, theirs, 0.3, Tolerances(margin=0.3))

        first = gate(40)
        if first.decision == "undecided" and first.needed:
            assert first.needed > 40
            advised.append(first.needed)
            decided.append(gate(max(first.needed, 400)).decision == "pass")
    assert advised
    assert np.mean(decided) >= 0.6


def test_classes_are_corrected_as_holm_says() -> None:
    """The smallest p times the number of classes, the next times one fewer, never decreasing."""
    tables = [(10, 12, 0, 8), (10, 9, 1, 10), (15, 2, 2, 11), (10, 5, 0, 15)]
    pairs = [_pairs(*table) for table in tables]
    labels = np.repeat([7, 1, 3, 0], 30)
    mine, theirs = (np.concatenate(column) for column in zip(*pairs, strict=True))
    chosen = Tolerances(per_class=0.02)
    found = class_checks(labels, mine, theirs, chosen)
    assert [check.metric for check in found] == ["class 0", "class 1", "class 3", "class 7"]
    raw = {
        label: drop_p_values(lost, won, 30, 0.02)[0]
        for label, (_, lost, won, _) in zip([7, 1, 3, 0], tables, strict=True)
    }
    expected, highest = {}, 0.0
    for rank, label in enumerate(sorted(raw, key=lambda k: raw[k])):
        highest = max(highest, min(1.0, raw[label] * (4 - rank)))
        expected[f"class {label}"] = highest
    assert {c.metric: c.p_regression for c in found} == pytest.approx(expected)
    assert {c.metric: c.decision for c in found} == {
        name: "regression" if p <= 0.05 else "not shown" for name, p in expected.items()
    }
    assert {c.decision for c in found} == {"regression", "not shown"}
    these = class_checks(labels, mine, theirs, Tolerances(per_class=0.02, these_samples=True))
    assert [c.decision for c in these] == ["regression", "regression", "pass", "regression"]


@pytest.mark.parametrize(("lost", "won"), [(10, 8), (30, 2), (0, 0), (3, 20)])
def test_needed_samples_grow_with_the_square_of_what_is_close(lost: int, won: int) -> None:
    """Twice as close to the limit needs about four times as many."""
    drop = (lost - won) / 1000
    near, far = (needed_for_rate(lost, won, 1000, drop + away, 0.05) for away in (0.005, 0.01))
    assert near is not None
    assert far is not None
    if lost + won and far > 1001:
        assert 3 < near / far < 5
    assert near >= far
