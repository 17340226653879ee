"""How many samples a paired comparison needs: the power of McNemar's test before anything is run.

A normal approximation: R. J. Connor, "Sample size for testing differences in proportions for the
paired-sample design", Biometrics 43, 1987 (page 209, two-sided), with a correction of one sample
for the counts being whole, since `mcnemar_exact` is more cautious than the normal test Connor's
formula is for.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def samples_needed(drop: float, discordant: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Samples with which the exact two-sided McNemar test sees a difference of `drop`.

    It does so at level alpha in (0,1) with probability power in [0.5,1). drop in (0,1] is the
    difference of the two robust accuracies (0.01 is one point), its sign does not matter;
    discordant in [drop,1] is the share of samples on which the two verdicts differ. Approximate,
    and on the safe side: at the number returned the test has `power` or more, up to 0.03 more where
    at least 50 samples are expected to differ, and up to 0.25 more where a handful are. Raises
    ValueError outside these ranges.
    """
    drop = abs(drop)
    if not 0 < drop <= discordant <= 1:
        raise ValueError(
            f"a difference of {drop} needs a share of changed samples between it and 1, not "
            f"{discordant}"
        )
    z_alpha, z_power = _quantiles(alpha, power)
    # Solve n * drop - 1 = sqrt(n) * spread: the excess of one way over the other reaches what the
    # test asks for.
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - drop**2)
    return math.ceil(((spread + math.sqrt(spread**2 + 4 * drop)) / (2 * drop)) ** 2)


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    if not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(
            f"alpha is between 0 and 1 and power from 0.5 to 1, not {alpha} and {power}"
        )
    return NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
