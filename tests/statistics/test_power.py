"""Sample sizes against the exact power of the exact test, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from robbench.statistics.power import samples_needed
from robbench.statistics.proportions import mcnemar_exact


def exact_power(n: int, drop: float, discordant: float, alpha: float) -> float:
    """Power of the exact two-sided McNemar test: the mass of its rejection region."""
    changed = np.arange(n + 1)
    critical = binom.ppf(alpha / 2, changed, 0.5)
    critical -= (
        2 * binom.cdf(critical, changed, 0.5) > alpha
    )  # the largest count that is still significant, or -1
    up = (1 + drop / discordant) / 2
    seen = binom.cdf(critical, changed, 1 - up) + binom.cdf(critical, changed, up)
    return float((binom.pmf(changed, n, discordant) * seen).sum())


@pytest.mark.parametrize("discordant", [0.02, 0.1, 0.4])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.05, 0.95), (0.01, 0.5), (0.01, 0.9)])
def test_samples_needed_reach_the_power_and_hardly_more(
    discordant: float, alpha: float, power: float
) -> None:
    """At the number returned the exact test has the power, at most 0.03 more at 50 changes."""
    for share in (0.15, 0.3, 0.5, 0.75, 1.0):
        n = samples_needed(share * discordant, discordant, alpha, power)
        excess = exact_power(n, share * discordant, discordant, alpha) - power
        assert -1e-3 <= excess <= (0.03 if n * discordant >= 50 else 0.25)


def test_samples_needed_are_connors_with_the_correction() -> None:
    """Connor's 1987 formula gives 23 for 0.4 of 0.5; ours adds about 1 / drop."""
    spread = norm.ppf(0.975) * math.sqrt(0.5) + norm.ppf(0.8) * math.sqrt(0.5 - 0.4**2)
    plain = (spread / 0.4) ** 2
    assert math.ceil(plain) == 23
    assert (
        samples_needed(0.4, 0.5)
        == math.ceil(plain / 4 * (1 + math.sqrt(1 + 4 / (plain * 0.4))) ** 2)
        == 27
    )
    assert samples_needed(-0.4, 0.5) == 27
    for drop, discordant in [(0.01, 0.1), (0.005, 0.02)]:
        spread = norm.ppf(0.975) * math.sqrt(discordant) + norm.ppf(0.8) * math.sqrt(
            discordant - drop**2
        )
        assert samples_needed(drop, discordant) == pytest.approx(
            (spread / drop) ** 2 + 2 / drop, abs=0.1 / drop
        )


def test_simulated_comparisons_find_the_drop_as_often_as_planned() -> None:
    """Three points of ten per cent changed: 80 % of 1000 simulations significant, 4 % without."""
    n, random = samples_needed(0.03, 0.1), np.random.default_rng(3)
    for shares, low, high in [((0.065, 0.035, 0.9), 0.76, 0.84), ((0.05, 0.05, 0.9), 0.02, 0.065)]:
        counts = random.multinomial(n, shares, size=1000)
        assert low < sum(mcnemar_exact(int(b), int(c)) <= 0.05 for b, c, _ in counts) / 1000 < high


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0.1),
        (0.2, 0.1),
        (0.2, 1.1),
        (0.1, 0.2, 0),
        (0.1, 0.2, 0.05, 1.0),
        (0.1, 0.2, 0.05, 0.4),
        (math.nan, 0.2),
    ],
)
def test_impossible_plans_are_errors(arguments: tuple[float, ...]) -> None:
    """No difference, more difference than change, no error allowed, certainty."""
    with pytest.raises(ValueError):
        samples_needed(*arguments)
