"""The papers' claims as differences between recorded results, and what these say of them.

A claim is that a figure of one loss is above that of another. It is judged by the mean difference
over the training seeds in common, with its 95 % interval (Student's t, paired):

    reproduced               all of the interval is above zero
    not reproduced           all of it is below zero
    undecided (needs n)      zero is inside; n seeds of the same spread would decide it
    reproduced as masking    reproduced under the paper's attack, not under the stronger one
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping

import pandas as pd
from scipy.special import stdtrit

from robbench.statistics.bootstrap import Estimate, over_seeds, over_seeds_difference

_MOST = 1000
_ALIKE = 1e-9
"""Differences that are all alike have an interval of no width, which few seeds cannot show."""

UNREAD = "no number could be read"
"""In print."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """That `metric` of `loss` is above that of `than`, or below it with `below`.

    paper: whose claim it is, of one that stands for the paper. published: what can be read of the
    difference in print, and where. where: values of columns of the rows it is about; stronger,
    stronger_metric: those of a stronger attack.
    """

    text: str
    loss: str
    than: str
    metric: str = "robust_accuracy"
    below: bool = False
    where: Mapping[str, object] = dataclasses.field(default_factory=dict)
    stronger: Mapping[str, object] | None = None
    stronger_metric: str | None = None
    paper: str | None = None
    published: str = UNREAD


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured of a claim; `difference` is in units of the metric, the loss's less."""

    word: str
    difference: Estimate | None
    seeds: int
    stronger: Estimate | None = None


def judge(claim: Claim, rows: pd.DataFrame) -> Verdict:
    """The verdict of the recorded rows of a sweep; `not measured` without a seed in common."""
    difference, seeds = _difference(claim, rows, claim.where, claim.metric)
    if difference is None:
        return Verdict("not measured", None, 0)
    word = _word(difference, seeds, claim.below)
    if claim.stronger is None and claim.stronger_metric is None:
        return Verdict(word, difference, seeds)
    metric = claim.stronger_metric or claim.metric
    stronger, n = _difference(claim, rows, claim.stronger or claim.where, metric)
    if word == "reproduced" and stronger is not None:
        again = _word(stronger, n, claim.below)
        word = word if again == "reproduced" else "reproduced as masking"
    return Verdict(word, difference, seeds, stronger)


def values(
    rows: pd.DataFrame, loss: str, metric: str, where: Mapping[str, object]
) -> dict[int, float]:
    """Seed -> value of a metric of one loss: a column, `measures NAME ...` or `logs NAME`."""
    rows = rows[rows.loss == loss]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    table, _, name = metric.partition(" ")
    column = {"logs": "train_logs", "measures": "measures"}.get(table)
    found: Mapping[int, object] = dict(zip(rows.train_seed, rows[column or metric], strict=True))
    if column is not None:
        found = {seed: json.loads(str(text)).get(name) for seed, text in found.items()}
    numbers = {int(seed): float(value) for seed, value in found.items() if value is not None}  # type: ignore[arg-type]
    return {seed: value for seed, value in numbers.items() if not math.isnan(value)}


def _difference(
    claim: Claim, rows: pd.DataFrame, where: Mapping[str, object], metric: str
) -> tuple[Estimate | None, int]:
    ours, theirs = (values(rows, loss, metric, where) for loss in (claim.loss, claim.than))
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None, 0
    pair = [{seed: side[seed] for seed in common} for side in (ours, theirs)]
    return over_seeds_difference(*pair), len(common)


def _word(difference: Estimate, seeds: int, below: bool) -> str:
    low, high = difference.low, difference.high
    if below:
        low, high = -high, -low
    if high - low < _ALIKE:
        return "undecided (all seeds alike)" if difference.value else "no difference seen"
    if low > 0:
        return "reproduced"
    if high < 0:
        return "not reproduced"
    return f"undecided ({_needed(difference, seeds)})"


def _needed(difference: Estimate, seeds: int) -> str:
    """How many seeds would decide it, if mean and spread stay as they are."""
    if seeds < 2:
        return "needs 2 seeds or more"
    half = (difference.high - difference.low) / 2
    spread = half * math.sqrt(seeds) / stdtrit(seeds - 1, 0.975)
    for n in range(seeds + 1, _MOST + 1):
        if stdtrit(n - 1, 0.975) * spread / math.sqrt(n) < abs(difference.value):
            return f"needs {n} seeds"
    return f"no difference above {100 * half:.1f} points" if half < 1 else "no difference seen"


def mean_text(found: Mapping[int, float], scale: float = 1.0, digits: int = 1) -> str:
    """`mean ± half of its interval` of values by seed; without ± for one seed, `-` for none."""
    if not found:
        return "-"
    estimate = over_seeds([scale * value for value in found.values()])
    text = f"{estimate.value:.{digits}f}"
    if math.isnan(estimate.low):
        return text
    return f"{text} ± {estimate.high - estimate.value:.{digits}f}"
