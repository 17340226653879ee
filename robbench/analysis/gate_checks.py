"""The checks of a gate: each holds one number of two runs against what it may lose.

A regression has to be shown, and so has a pass: where the samples show neither, the check is
undecided and says how many samples would decide. Each answer about a rate is wrong with probability
at most alpha, one about a median with about alpha, as its interval is a bootstrap. Where the claim
is about these samples only, nothing is uncertain.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.statistics.bootstrap import fewest_pairs, paired_bootstrap
from robbench.statistics.paired import drop_interval, drop_p_values
from robbench.statistics.power import samples_needed
from robbench.statistics.proportions import holm, mcnemar_exact

ROBUST, CLEAN, MARGIN, DISTANCE = (
    "robust accuracy",
    "clean accuracy",
    "median margin",
    "median distance",
)
_POWER, _RESAMPLES = 0.8, 1999

Decision = Literal["pass", "regression", "undecided", "not shown"]


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """How much may be lost: rates in [0,1), the margin in its own units; None is not judged.

    per_class is of robust accuracy, for each class alone; it fails where a regression is shown and
    asks for no more (Holm's correction among the classes). these_samples: decide for the samples of
    the runs, not for images like them. alpha, from 0.005 to 0.4, is the probability of error.
    undecided_passes: too little evidence of a regression does not fail a build.
    Raises UserError for values outside these ranges.
    """

    robust: float | None = 0.01
    clean: float | None = None
    margin: float | None = None
    per_class: float | None = None
    alpha: float = 0.05
    these_samples: bool = False
    undecided_passes: bool = False

    @classmethod
    def in_points(
        cls,
        *,
        robust: float | None,
        clean: float | None = None,
        per_class: float | None = None,
        **others: Any,
    ) -> Tolerances:
        """Tolerances whose rates are given in percentage points, as a user gives them."""
        shares = [None if points is None else points / 100 for points in (robust, clean, per_class)]
        return cls(robust=shares[0], clean=shares[1], per_class=shares[2], **others)

    def __post_init__(self) -> None:
        for value in (self.robust, self.clean, self.per_class):
            if value is not None and not 0 <= value < 1:
                raise UserError(
                    f"a tolerated drop is at least 0 and below 100 points, not {100 * value:g}"
                )
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise UserError(
                f"a tolerated drop of the median margin is 0 or more, not {self.margin:g}"
            )
        if not 0.005 <= self.alpha <= 0.4:
            raise UserError(
                f"alpha, the probability of error, is from 0.005 to 0.4, not {self.alpha:g}"
            )


@dataclass(frozen=True, kw_only=True)
class GateCheck:
    """One number of both runs: whether it dropped by more than `tolerance`, in the same unit.

    drop is baseline minus candidate, low and high its bounds: each is beyond the truth with
    probability at most alpha (of a median about alpha). lost and won: samples that only the
    baseline, only the candidate has right (None for a median). p_regression and p_pass test the
    opposite of what they show, mcnemar_p is of no difference at all (None where the data said when
    to stop). needed: samples that would probably decide, for a median without bounds the fewest
    that have some. Against one of the last runs of a model: back counts it from the candidate (1 is
    the run before), since is its date and run id.
    """

    metric: str
    baseline: float
    candidate: float
    drop: float
    low: float
    high: float
    tolerance: float | None
    decision: Decision
    n: int
    method: Literal["exact", "bootstrap", "sequential", "these samples"]
    lost: int | None = None
    won: int | None = None
    p_regression: float | None = None
    p_pass: float | None = None
    mcnemar_p: float | None = None
    needed: int | None = None
    back: int | None = None
    since: str | None = None


def rate_check(
    metric: str,
    mine: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    tolerance: float | None,
    tolerances: Tolerances,
) -> GateCheck:
    """The check of a rate from verdicts [n] of the baseline and the candidate, true where right.

    n >= 1.
    """
    n, lost, won = len(mine), int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    drop, alpha = (lost - won) / n, tolerances.alpha
    common: dict[str, Any] = {
        "metric": metric,
        "baseline": float(mine.mean()),
        "candidate": float(theirs.mean()),
        "drop": drop,
        "n": n,
        "lost": lost,
        "won": won,
        "tolerance": tolerance,
        "mcnemar_p": mcnemar_exact(lost, won),
    }
    if tolerances.these_samples:
        decision: Decision = (
            "not shown" if tolerance is None else "regression" if drop > tolerance else "pass"
        )
        return GateCheck(**common, low=drop, high=drop, decision=decision, method="these samples")
    low, high = drop_interval(lost, won, n, alpha)
    if tolerance is None:
        return GateCheck(**common, low=low, high=high, decision="not shown", method="exact")
    worse, fine = drop_p_values(lost, won, n, tolerance)
    decision = "regression" if worse <= alpha else "pass" if fine <= alpha else "undecided"
    needed = needed_for_rate(lost, won, n, tolerance, alpha) if decision == "undecided" else None
    return GateCheck(
        **common,
        low=low,
        high=high,
        decision=decision,
        method="exact",
        p_regression=worse,
        p_pass=fine,
        needed=needed,
    )


def needed_for_rate(lost: int, won: int, n: int, tolerance: float, alpha: float) -> int | None:
    """About how many samples decide with probability 0.8, if what n showed is the truth.

    None where it is on the limit.
    """
    # The few samples seen may all be won: a drop of -1, further from the limit than a share can be.
    away = min(1.0, abs((lost - won) / n - tolerance))
    if away < 1e-9:
        return None
    # With no change seen as yet, a drop of just the tolerated size would be the least change that
    # matters.
    discordant = min(1.0, max((lost + won) / n, away))
    return max(n + 1, samples_needed(away, discordant, alpha=min(2 * alpha, 0.99), power=_POWER))


def margin_check(
    metric: str, mine: NDArray[Any], theirs: NDArray[Any], tolerance: float, tolerances: Tolerances
) -> GateCheck:
    """The check of a median of values [n] of each run, inf where no perturbation was found.

    Its interval is `paired_bootstrap`'s, each end of which errs with a probability of about alpha;
    of fewer pairs than it takes nothing is known. Pairs with NaN or -inf are left out. Raises
    UserError when none is left.
    """
    known = ~(np.isnan(mine) | np.isnan(theirs) | np.isneginf(mine) | np.isneginf(theirs))
    if not known.any():
        raise UserError("no sample has a margin in both runs: leave out --max-margin-drop")
    mine, theirs = mine[known].astype(np.float64), theirs[known].astype(np.float64)
    n, alpha = len(mine), tolerances.alpha
    common: dict[str, Any] = {
        "metric": metric,
        "baseline": float(np.median(mine)),
        "candidate": float(np.median(theirs)),
        "n": n,
        "tolerance": tolerance,
    }
    if tolerances.these_samples:
        same = common["baseline"] == common["candidate"]  # also where both are infinite
        drop = 0.0 if same else common["baseline"] - common["candidate"]
        decision: Decision = "regression" if drop > tolerance else "pass"
        return GateCheck(
            **common, drop=drop, low=drop, high=drop, decision=decision, method="these samples"
        )
    level = 1 - 2 * alpha
    found = paired_bootstrap(mine, theirs, seed=0, level=level, resamples=_RESAMPLES)
    decision = (
        "regression"
        if found.low > tolerance
        else "pass"
        if found.high <= tolerance
        else "undecided"
    )
    needed = None
    if n < (fewest := fewest_pairs(level)):
        needed = fewest
    elif (
        decision == "undecided"
        and math.isfinite(found.low)
        and math.isfinite(found.high)
        and found.value != tolerance
    ):
        # An interval shrinks with the root of the samples; half of it and the reserve for power
        # must fit into what is left.
        normal = NormalDist()
        reserve = 1 + normal.inv_cdf(_POWER) / normal.inv_cdf(1 - alpha)
        needed = max(
            n + 1,
            math.ceil(
                n * (reserve * (found.high - found.low) / 2 / abs(found.value - tolerance)) ** 2
            ),
        )
    return GateCheck(
        **common,
        drop=found.value,
        low=found.low,
        high=found.high,
        decision=decision,
        method="bootstrap",
        needed=needed,
    )


def class_checks(
    labels: NDArray[Any], mine: NDArray[np.bool_], theirs: NDArray[np.bool_], tolerances: Tolerances
) -> list[GateCheck]:
    """A check of robust accuracy for each class in `labels` [n], from verdicts [n] of both runs.

    Holm's correction.
    """
    classes = np.unique(labels).tolist()
    found = [
        rate_check(
            f"class {label}",
            mine[labels == label],
            theirs[labels == label],
            tolerances.per_class,
            tolerances,
        )
        for label in classes
    ]
    if tolerances.these_samples:
        return found
    adjusted = holm([1.0 if check.p_regression is None else check.p_regression for check in found])
    return [
        dataclasses.replace(
            check,
            decision="regression" if p <= tolerances.alpha else "not shown",
            p_regression=p,
            p_pass=None,
            needed=None,
        )
        for check, p in zip(found, adjusted, strict=True)
    ]
