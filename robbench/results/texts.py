"""Numbers as a person in a hurry reads them; one place, so that the terminal and Markdown never disagree.

Each function takes a row of `compare` (or of the runs table). Plain ASCII, so that any terminal can show it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOTHING = "-"

FOOTNOTE = (
    "adversarial ratio: share of samples for which the attack found a misclassified point inside the threat model; "
    "samples misclassified without any attack count. Interval: Wilson, 95 %. p: exact McNemar test on the samples in common."
)


def percent(rate: float) -> str:
    """A rate in [0,1] in percent with one decimal."""
    return f"{100 * rate:.1f}%"


def interval(row: Mapping[str, Any], name: str = "robust_accuracy") -> str:
    """The interval of a rate in percent, `41.2-49.3`."""
    return f"{100 * row[f'{name}_low']:.1f}-{100 * row[f'{name}_high']:.1f}"


def bounds(row: Mapping[str, Any]) -> str:
    """What robust accuracy can be when the budget ran out on some samples, `41.0% to 48.2%`."""
    return f"{percent(row['robust_accuracy_floor'])} to {percent(row['robust_accuracy'])}"


def margins(row: Mapping[str, Any]) -> str:
    """Median logit margin, clean -> worst found inside the threat model."""
    return f"{_number(row['clean_margin_p50'])} -> {_number(row['adv_margin_p50'])}"


def difference(row: Mapping[str, Any]) -> str:
    """Difference in robust accuracy to the baseline, in percentage points, with the p value of the paired test."""
    if row["robust_difference"] is None:
        return NOTHING
    return f"{100 * row['robust_difference']:+.1f} {p_value(row['mcnemar_p'])}"


def p_value(p: float) -> str:
    """`p=0.012`, and `p<0.001` for anything below."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}" if p < 0.1 else f"p={p:.2f}"


def queries(row: Mapping[str, Any]) -> str:
    """Forwards + backwards per sample."""
    forward, backward = row["n_forward"] / row["n_samples"], row["n_backward"] / row["n_samples"]
    return f"{_count(forward)}+{_count(backward)}"


def _number(value: float) -> str:
    """At most six characters, so that a table keeps its width."""
    if not math.isfinite(value):
        return NOTHING
    size = abs(value)
    return f"{value:.0e}" if size >= 99_999 else f"{value:.{2 if size < 10 else 1 if size < 100 else 0}f}"


def _count(value: float) -> str:
    return f"{value / 1000:.0f}k" if value >= 9_999 else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
