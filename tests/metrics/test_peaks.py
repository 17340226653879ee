"""Silverman's test on samples whose number of bumps is known, with its rates of error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robbench.metrics.peaks import FEWEST, MOST_PEAKS, count_modes, critical_bandwidth, peaks

TRIALS = 20


def told(draw: Callable[[np.random.Generator], np.ndarray]) -> list[int | None]:
    """What the test says of some samples, each of another seed."""
    return [peaks(draw(np.random.default_rng(100 + i)), draws=100) for i in range(TRIALS)]


@pytest.mark.parametrize("shape", ["normal", "exponential", "gumbel"])
def test_one_bump_is_rarely_taken_for_more(shape: str) -> None:
    """At level 5 %, at most 3 of 20 one-bump samples (300 values) are refused: chance 1.6 %."""
    assert sum(found != 1 for found in told(lambda rng: getattr(rng, shape)(size=300))) <= 3


def test_heavy_tails_are_no_peaks() -> None:
    """Outliers of Student's t (3 degrees of freedom) form bumps in any density; not counted."""
    assert sum(found != 1 for found in told(lambda rng: rng.standard_t(3, size=300))) <= 3


def test_two_bumps_are_seen() -> None:
    """Four deviations apart, 40 % to 60 %: at most 3 of 20 samples are missed or split."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return rng.normal(size=300) + 4 * (rng.random(300) < 0.4)

    assert sum(found != 2 for found in told(draw)) <= 3


def test_three_bumps_are_seen() -> None:
    """Five deviations apart, at 600 values."""
    rng = np.random.default_rng(1)
    assert peaks(rng.normal(size=600) + 5 * rng.integers(0, 3, 600)) == 3


def test_shift_and_scale_do_not_matter() -> None:
    """Margins of a model whose logits are a thousand times as large have as many peaks."""
    values = np.random.default_rng(3).normal(size=200) + 5 * (np.arange(200) % 2)
    assert peaks(values) == peaks(1000 * values - 17) == 2


def test_many_far_bumps_end_the_search() -> None:
    """More peaks than are looked for give the most that is told."""
    values = np.repeat([0.0, 10.0, 30.0, 70.0, 150.0], 60) + np.random.default_rng(0).normal(
        size=300
    )
    assert peaks(values, draws=50) == MOST_PEAKS


def test_what_cannot_be_told() -> None:
    """Few values: nothing. One value repeated: one peak. Non-finite values are left out."""
    assert peaks(np.arange(FEWEST - 1.0)) is None
    assert peaks(np.full(100, 2.5)) == 1
    values = np.random.default_rng(0).normal(size=200)
    assert peaks(np.concatenate([values, [np.nan, np.inf]])) == peaks(values)


def test_the_same_values_give_the_same_number() -> None:
    """Its random numbers come from a seed of its own."""
    values = np.random.default_rng(5).random(150)
    np.random.seed(0)  # noqa: NPY002
    first = peaks(values)
    np.random.seed(1)  # noqa: NPY002
    assert peaks(values) == first


def test_modes_against_a_density_on_a_fine_grid() -> None:
    """The binned density has scipy's number of modes, and its bandwidth for one mode to 2 %."""
    from scipy.stats import gaussian_kde

    values = np.random.default_rng(2).normal(size=120)
    low, high = np.quantile(values, [0.02, 0.98])
    grid = np.linspace(low, high, 4000)

    def exact(width: float) -> int:
        slope = np.sign(np.diff(gaussian_kde(values, width / values.std(ddof=1))(grid)))
        return int((np.diff(slope) < 0).sum()) + int(slope[-1] > 0) + int(slope[0] < 0)

    critical = critical_bandwidth(values, 1)
    assert exact(1.02 * critical) == 1 < exact(0.98 * critical)
    for width in (0.15, 0.25, 0.4, 0.8):
        assert count_modes(values, width) == exact(width)
