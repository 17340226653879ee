"""The paired bootstrap: scipy, closed forms, simulated coverage; seeds: t intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robbench.statistics import bootstrap
from robbench.statistics.bootstrap import (
    fewest_pairs,
    over_seeds,
    over_seeds_difference,
    paired_bootstrap,
)


def skewed(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins of two models: alike per sample, with a long tail."""
    random = np.random.default_rng(seed)
    baseline = random.exponential(size=n)
    return 0.8 * baseline + 0.3 * random.exponential(size=n), baseline


@pytest.mark.parametrize("n", [31, 200])
def test_the_interval_is_scipys(n: int) -> None:
    """Both ends within 2 % of the width of scipy's paired percentile interval of that share."""
    values, baseline = skewed(n, n)
    ours = paired_bootstrap(values, baseline, seed=1)
    theirs = stats.bootstrap(
        (values, baseline),
        lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=1 - 2 * bootstrap._percentile(n, 0.025),
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(np.median(values) - np.median(baseline), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx(
        tuple(theirs), abs=0.02 * (theirs.high - theirs.low)
    )


PAIRS = {
    "nearly equal": lambda x, noise: x + 0.05 * noise,
    "scaled": lambda x, noise: 0.8 * x,
    "independent": lambda x, noise: noise,
}
"""Second values from normal first ones and noise; the medians of both are zero."""


@pytest.mark.parametrize("how", PAIRS)
@pytest.mark.parametrize(
    "n", [1, 3, 5, 15, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8, 40))]
)
def test_an_end_is_beyond_the_truth_as_rarely_as_it_says(how: str, n: int) -> None:
    """Each end at a level of 90 % errs in 5 % of 1000 sets at most, up to three deviations.

    An end that errs in 10 % would be found with a probability of more than 99 %.
    """
    below = above = 0
    for seed in range(1000):
        x, noise = np.random.default_rng(seed).normal(size=(2, n))
        found = paired_bootstrap(x, PAIRS[how](x, noise), seed=seed, level=0.9, resamples=299)
        below += found.high < 0
        above += found.low > 0
    assert max(below, above) / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    if n == 40 and how == "independent":  # else it is more cautious
        assert (below + above) / 1000 > 0.02


@pytest.mark.parametrize("level", [0.2, 0.6, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [3, 5, 7, 9, 19, 31, 101])
def test_a_single_median_has_an_interval_of_the_sign_test(n: int, level: float) -> None:
    """Against zeros an end is one of the values, and errs with (1 - level) / 2 at most: binomial.

    It is never more than a place or two beyond the tightest such value.
    """
    tail, values = (1 - level) / 2, np.arange(1.0, n + 1)
    found = paired_bootstrap(values, np.zeros(n), seed=1, level=level, resamples=4999)
    tightest = sum(stats.binom.cdf(k, n, 0.5) <= tail for k in range(n))
    assert (found.low, found.high) == pytest.approx((n + 1 - found.high, n + 1 - found.low))
    if tightest == 0:
        assert (found.low, found.high) == (-math.inf, math.inf)
    else:
        assert tightest - 2 <= found.low <= tightest
    assert (tightest == 0) == (n < fewest_pairs(level))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 80), st.integers(0, 1000))
def test_intervals_hold_the_value_and_follow_shift_scale_and_exchange(n: int, seed: int) -> None:
    """The resamples of moved, stretched or exchanged data transform the interval alike."""
    values, baseline = skewed(n, seed)
    found = paired_bootstrap(values, baseline, seed=seed, resamples=499)
    assert found.low <= found.value <= found.high
    width = found.high - found.low
    moved = paired_bootstrap(2 * values + 3, 2 * baseline, seed=seed, resamples=499)
    assert (moved.low, moved.high) == pytest.approx(
        (2 * found.low + 3, 2 * found.high + 3), abs=0.1 * width
    )
    turned = paired_bootstrap(baseline, values, seed=seed, resamples=499)
    assert turned.value == pytest.approx(-found.value)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=0.1 * width)
    wider = paired_bootstrap(values, baseline, seed=seed, resamples=499, level=0.99)
    assert wider.low <= found.low <= found.high <= wider.high


def test_intervals_narrow_with_the_samples_and_depend_on_the_seed_alone() -> None:
    """Sixteen times the samples, a quarter of the width; equal seeds, equal numbers."""
    few, many = skewed(200, 1), skewed(3200, 1)
    short = paired_bootstrap(*few, seed=1, resamples=999)
    long = paired_bootstrap(*many, seed=1, resamples=999)
    assert 0.15 < (long.high - long.low) / (short.high - short.low) < 0.4
    assert paired_bootstrap(*few, seed=1, resamples=999) == short
    other = paired_bootstrap(*few, seed=2, resamples=999)
    assert (other.value, other.low) == (short.value, pytest.approx(short.low, abs=0.2))
    assert other != short


def test_pairs_are_kept_together() -> None:
    """A constant gain on data that scatter widely is known exactly."""
    _, baseline = skewed(50, 1)
    found = paired_bootstrap(np.floor(baseline * 64) + 1, np.floor(baseline * 64), seed=1)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    one = paired_bootstrap([0.5], [0.25], seed=1)
    assert (one.value, one.low, one.high) == (0.25, -math.inf, math.inf)


def test_blocks_have_all_resamples_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more indices at once than allowed, all rows; every position equally often."""
    monkeypatch.setattr(bootstrap, "_DRAWN_AT_ONCE", 100)
    blocks = list(bootstrap._draws(30, 2000, np.random.default_rng(1)))
    assert {block.shape for block in blocks[:-1]} == {(3, 30)}
    counts = np.bincount(np.concatenate(blocks).ravel(), minlength=30)
    assert counts.sum() == 60_000
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_median_takes_infinite_margins() -> None:
    """A third of the margins censored: the same interval as with any large number."""
    values, baseline = skewed(120, 4)
    big, limit = baseline > np.quantile(baseline, 0.67), np.where
    infinite = [limit(big, np.inf, each) for each in (values, baseline)]
    large = [limit(big, 1e6, each) for each in (values, baseline)]
    found = paired_bootstrap(*infinite, seed=1)
    assert found == paired_bootstrap(*large, seed=1)
    assert math.isfinite(found.low + found.high)


def test_infinite_medians_are_told_honestly() -> None:
    """One median infinite: so is the difference. Near half: one end may be. Both: NaN."""
    inf = math.inf
    one = paired_bootstrap([inf] * 9 + [1.0], [1.0] * 10, seed=1)
    assert (one.value, one.low, one.high) == (inf, inf, inf)
    half = paired_bootstrap([inf] * 9 + [2.0] * 11, [1.0] * 20, seed=1)
    assert (half.value, half.low, half.high) == (1.0, 1.0, inf)
    both = paired_bootstrap([inf] * 9 + [1.0], [inf] * 9 + [1.0], seed=1)
    assert math.isnan(both.value)
    assert (both.low, both.high) == (-inf, inf)


@pytest.mark.parametrize(
    ("values", "baseline", "options"),
    [
        ([], [], {}),
        ([1.0, 2.0], [1.0], {}),
        ([[1.0]], [[1.0]], {}),
        ([1.0, math.nan], [1.0, 2.0], {}),
        ([1.0, -math.inf], [1.0, 2.0], {}),
        ([1.0], [1.0], {"level": 1.0}),
        ([1.0], [1.0], {"resamples": 0}),
    ],
)
def test_what_the_bootstrap_refuses(
    values: list[float], baseline: list[float], options: dict[str, object]
) -> None:
    """Nothing, what does not pair, missing values, and options that mean nothing."""
    with pytest.raises(ValueError):
        paired_bootstrap(values, baseline, seed=1, **options)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=12),
    st.sampled_from([0.5, 0.95, 0.999]),
)
def test_seeds_have_scipys_t_interval(pairs: list[tuple[float, float]], level: float) -> None:
    """One sample of seeds, and two models paired by seed in any order of their runs."""
    values, baseline = (dict(enumerate(each)) for each in zip(*pairs, strict=True))
    sample = np.array(list(values.values()))
    half = (
        stats.t.ppf((1 + level) / 2, len(sample) - 1) * sample.std(ddof=1) / math.sqrt(len(sample))
    )
    found = over_seeds(list(values.values()), level)
    assert (found.low, found.high) == pytest.approx(
        (sample.mean() - half, sample.mean() + half), abs=1e-8
    )
    assert found.low <= found.value <= found.high
    difference = over_seeds_difference(values, dict(reversed(baseline.items())), level)
    assert difference == over_seeds([a - b for a, b in pairs], level)
    if np.ptp([a - b for a, b in pairs]) > 1e-6:
        expected = stats.ttest_rel(
            list(values.values()), list(baseline.values())
        ).confidence_interval(level)
        assert (difference.low, difference.high) == pytest.approx(tuple(expected), abs=1e-7)


def test_intervals_over_seeds_hold_as_often_as_they_say() -> None:
    """Three seeds each of 4000 models: 95 % coverage, where 1.96 deviations give 81 %."""
    runs = np.random.default_rng(1).normal(0.4, 0.02, (4000, 3))
    found = [over_seeds(list(run)) for run in runs]
    held = sum(each.low <= 0.4 <= each.high for each in found) / 4000
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


def test_one_seed_has_no_interval() -> None:
    """It has a value, and says that there is nothing more."""
    for one in (over_seeds([0.4]), over_seeds_difference({7: 0.9}, {7: 0.5})):
        assert one.value == pytest.approx(0.4)
        assert math.isnan(one.low)
        assert math.isnan(one.high)


def test_what_seeds_refuse() -> None:
    """None, what is not finite, levels that are none, and seeds that do not pair."""
    for values, level in [
        ([], 0.95),
        ([0.1, math.nan], 0.95),
        ([0.1, math.inf], 0.95),
        ([0.1, 0.2], 1.0),
    ]:
        with pytest.raises(ValueError):
            over_seeds(values, level)
    with pytest.raises(ValueError, match="same seeds"):
        over_seeds_difference({1: 0.4, 2: 0.5}, {1: 0.4, 3: 0.5})
