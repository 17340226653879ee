"""Rank agreement against scipy, scikit-learn, counting pairs, and simulated coverage."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score, roc_curve

from robbench.statistics import rank_agreement
from robbench.statistics.rank_agreement import auroc, false_positive_rate, kendall_tau


def drawn(seed: int, n: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated arrays."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=n)
    y = 0.6 * x + draw.normal(size=n)
    return (x.round(), y.round()) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [3, 10, 57, 300])
def test_tau_is_that_of_scipy(n: int, ties: bool) -> None:
    """Tau-b, with and without ties."""
    x, y = drawn(n, n, ties=ties)
    expected = kendalltau(x, y).statistic
    assert kendall_tau(x, y).value == pytest.approx(expected, abs=1e-12)


def test_pairs_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a block changes nothing."""
    x, y = drawn(1, 41, ties=True)
    whole = kendall_tau(x, y)
    monkeypatch.setattr(rank_agreement, "_PAIRS_AT_ONCE", 100)
    assert kendall_tau(x, y) == whole


@pytest.mark.parametrize("ties", [False, True])
def test_the_interval_of_tau_is_from_leaving_each_sample_out(ties: bool) -> None:
    """The jackknife by scipy on N - 1 samples, N times."""
    x, y = drawn(2, 40, ties=ties)
    n = len(x)
    without = np.array([kendalltau(np.delete(x, i), np.delete(y, i)).statistic for i in range(n)])
    error = math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    found = kendall_tau(x, y)
    half = 1.959963984540054 * error / (1 - found.value**2)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - half))
    assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + half))


def test_the_interval_of_tau_covers_the_truth() -> None:
    """Of normal pairs tau is 2/pi arcsin rho: 95 % intervals contain it in about 95 % of sets."""
    truth = 2 / math.pi * math.asin(0.6 / math.hypot(0.6, 1))
    for n in (50, 200):
        found = [kendall_tau(*drawn(seed, n)) for seed in range(400)]
        covered = np.mean([one.low <= truth <= one.high for one in found])
        assert 0.92 <= covered <= 0.98


def test_tau_of_equal_orders_and_of_constants() -> None:
    """1 and -1, with no width; a constant has no order."""
    x = np.arange(12.0)
    assert kendall_tau(x, x**3) == rank_agreement.Estimate(1, 1, 1)
    assert kendall_tau(x, -x) == rank_agreement.Estimate(-1, -1, -1)
    assert math.isnan(kendall_tau(x, np.ones(12)).value)
    assert math.isnan(kendall_tau([], []).value)
    lone = kendall_tau([1.0, 2, 3, 4], [0, 0, 0, 1])  # without the last one, a constant
    assert lone.value == pytest.approx(kendalltau([1, 2, 3, 4], [0, 0, 0, 1]).statistic)
    assert math.isnan(lone.low)


def groups(seed: int, n: int, m: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Values of those to find, smaller on average, and of others."""
    draw = np.random.default_rng(seed)
    low, high = draw.normal(size=n), draw.normal(size=m) + 1
    return (low.round(), high.round()) if ties else (low, high)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 40), (40, 5), (150, 130)])
def test_auroc_is_that_of_scikit_learn_and_of_counting(n: int, m: int, ties: bool) -> None:
    """Small values find; a tie counts half."""
    low, high = groups(n + m, n, m, ties=ties)
    truth, score = np.r_[np.ones(n), np.zeros(m)], -np.r_[low, high]
    pairs = [(a < b) + (a == b) / 2 for a in low for b in high]
    assert auroc(low, high).value == pytest.approx(roc_auc_score(truth, score))
    assert auroc(low, high).value == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("ties", [False, True])
def test_the_interval_of_auroc_is_delongs(ties: bool) -> None:
    """The variance as DeLong et al. write it, over all pairs."""
    low, high = groups(3, 30, 25, ties=ties)
    psi = (low[:, None] < high) + (low[:, None] == high) / 2
    variance = psi.mean(1).var(ddof=1) / 30 + psi.mean(0).var(ddof=1) / 25
    found = auroc(low, high)
    half = 1.959963984540054 * math.sqrt(variance)
    assert found.low == pytest.approx(found.value - half)
    assert found.high == pytest.approx(min(found.value + half, 1))


def test_the_interval_of_auroc_covers_the_truth() -> None:
    """Of normal values with means 0 and 1 it is Phi(1 / sqrt 2)."""
    truth = (1 + math.erf(0.5)) / 2
    found = [auroc(*groups(seed, 40, 60)) for seed in range(400)]
    assert 0.92 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.98


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 19, 20, 21, 40, 100])
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_false_positives_are_those_of_the_roc_curve(n: int, share: float, ties: bool) -> None:
    """The first point of scikit-learn's curve that finds the share."""
    low, high = groups(n, n, 50, ties=ties)
    fpr, tpr, _ = roc_curve(
        np.r_[np.ones(n), np.zeros(50)], -np.r_[low, high], drop_intermediate=False
    )
    expected = fpr[np.argmax(tpr >= share - 1e-12)]
    assert false_positive_rate(low, high, share) == pytest.approx(expected)


def test_nothing_to_compare() -> None:
    """An empty group has no rate; one value has no interval."""
    for low, high in (([], [1.0]), ([1.0], [])):
        assert math.isnan(auroc(low, high).value)
        assert math.isnan(false_positive_rate(low, high))
    assert math.isnan(auroc([1.0], [2.0, 3.0]).low)


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [[1.0, 2.0]]])
def test_refuses_what_has_no_rank(bad: list) -> None:
    """NaN, infinite values, tables; arrays of other lengths; levels that are none."""
    with pytest.raises(ValueError, match="finite"):
        kendall_tau(bad, [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        auroc([1.0], bad)
    with pytest.raises(ValueError, match="differ"):
        kendall_tau([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="level"):
        auroc([1.0, 2.0], [1.0, 2.0], level=1.0)


def test_tau_counts_every_pair_once() -> None:
    """Concordant less discordant pairs over all, where nothing is tied."""
    x, y = drawn(9, 25)
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in combinations(range(25), 2)]
    assert kendall_tau(x, y).value == pytest.approx(np.mean(signs))
