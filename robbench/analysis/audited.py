"""What the audit of a run shows: how many survivors the audit's attacks would break at most.

A survivor is a sample that the run's own attacks have all tried and not broken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.core.status import UNFINISHED
from robbench.statistics.proportions import most_in_population

AUDITED = "audited"
"""The sample column that says whether a sample was drawn; null of a run without an audit."""

MASKING = frozenset(
    {
        "black-box-only",
        "dynamic",
        "no-gradient",
        "non-finite-gradient",
        "vanishing",
        "zero-gradient",
    }
)
"""Names of flags that speak for masked gradients: a cheap attack may have missed much."""


def survives(row: Mapping[str, Any]) -> bool:
    """Whether a sample of the samples table is a survivor of the run's own attacks."""
    return bool(row.get(AUDITED)) or (row["robust"] and row["status"] != UNFINISHED)


def audit_numbers(
    audited: Sequence[bool] | None, robust: NDArray[np.bool_], unfinished: NDArray[np.bool_]
) -> dict[str, Any]:
    """The columns of the runs table on an audit, from the columns [N] of its samples.

    audited: which were drawn, None without an audit; then all numbers are None. unfinished: which
    ran out of time or queries: if that was in the audit, the bound takes them as broken. Without
    survivors there is no bound either, and all of them audited make it exact.
    robust_accuracy_audited takes as broken also what the run's own attacks have not finished.
    """
    names = (
        "n_survivors",
        "n_audited",
        "n_audit_broken",
        "audit_missed_high",
        "robust_accuracy_audited",
    )
    if audited is None:
        return dict.fromkeys(names)
    drawn = np.array(audited, dtype=bool)
    survivors = int((drawn | (robust & ~unfinished)).sum())
    n, broken = int(drawn.sum()), int((drawn & ~robust).sum())
    if not survivors:
        return dict(zip(names, (0, n, broken, None, None), strict=True))
    lost = most_in_population(int((drawn & (~robust | unfinished)).sum()), n, survivors)
    kept = (survivors - lost) / len(drawn)
    return dict(zip(names, (survivors, n, broken, lost / survivors, kept), strict=True))


def percent_up(rate: float) -> str:
    """An upper bound in [0,1] in percent with one decimal, rounded up."""
    return f"{math.ceil(round(1000 * rate, 6)) / 10:.1f}%"
