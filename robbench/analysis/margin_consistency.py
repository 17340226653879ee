"""Margin consistency: whether small clean logit margins tell which inputs are easily broken.

J. Ngnawé et al., "Detecting brittle decisions for free: leveraging margin consistency in deep
robust classifiers", NeurIPS 2024, arXiv:2406.18451. Of the samples that are classified correctly.
It holds for most robust models; where it does not, gradients may be masked, or the scale of the
logits differs between inputs. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.input_margins import InputMargins
from robbench.analysis.join import common
from robbench.statistics.bootstrap import Estimate
from robbench.statistics.rank_agreement import auroc, false_positive_rate, kendall_tau
from robbench.store.run import Run

FEWEST = 10
"""Of fewer samples ranks say nothing."""

LEVEL, FOUND = 0.95, 0.95

Value = tuple[float | None, dict[str, Any]]
"""A measure's value and detail; without a value the detail has a `reason`."""


class Clean(NamedTuple):
    """Samples as they are without an attack, all [N]. margin: the logit margin, NaN = not known."""

    sample_id: NDArray[np.int64]
    margin: NDArray[np.float64]
    correct: NDArray[np.bool_]

    @classmethod
    def of(cls, sample_ids: Sequence[int], runs: Sequence[Run]) -> Clean:
        """Of samples, as runs of one model without a target recorded them."""
        ids = np.asarray(sample_ids, np.int64)
        margin, correct = np.full(len(ids), math.nan), np.zeros(len(ids), bool)
        for run in runs:
            here, there = common(ids, run.samples["sample_id"].to_numpy())
            margin[here] = run.samples["clean_margin"].to_numpy()[there]
            correct[here] = run.samples["clean_correct"].to_numpy(zero_copy_only=False)[there]
        return cls(ids, margin, correct)

    def at(self, margins: InputMargins) -> Clean:
        """Of the samples that input margins are of, in their order."""
        here, there = common(self.sample_id, margins.sample_id)
        order = here[np.argsort(there)]
        return Clean(self.sample_id[order], self.margin[order], self.correct[order])


def consistency(clean: Clean, margins: InputMargins) -> Value:
    """Kendall's tau-b between logit margins and input margins, with its interval.

    A sample counts if its input margin is known from both sides (`InputMargins.exact`). Others are
    left out and counted: an attack inside a budget stops at its first success, so of two samples it
    broke, or of two it did not, the order is not known; as ties they would lower tau-b however well
    the logit margins order them.
    """
    clean = clean.at(margins)
    usable = clean.correct & np.isfinite(clean.margin)
    used = usable & margins.exact
    detail: dict[str, Any] = {
        "used": int(used.sum()),
        "left_out": int((usable & ~used).sum()),
        "misclassified": int((~clean.correct).sum()),
    }
    if int(used.sum()) < FEWEST:
        attack = f"attack with --threat {margins.norm}:inf"
        few = f"input margins known from both sides: only {used.sum()}"
        return None, detail | {"reason": few if math.inf in margins.eps else f"{few}: {attack}"}
    tau = kendall_tau(clean.margin[used], margins.smallest[used], LEVEL)
    return _estimate(tau, detail, "all logit margins or all input margins are equal")


def brittle_inputs(clean: Clean, margins: InputMargins, eps: float) -> dict[str, Value]:
    """How well small logit margins find the brittle samples, those that fall within eps.

    `brittle_auroc`: chance that a brittle sample has a smaller logit margin than a robust one.
    `brittle_fpr95`: share of the robust ones below the threshold that finds 95 % of the brittle.
    Brittle: some run found a perturbation no larger than eps; robust: none did, and an attack with
    eps or more ended without one. Others are left out and counted.
    """
    clean = clean.at(margins)
    usable = clean.correct & np.isfinite(clean.margin)
    brittle = usable & (margins.smallest <= eps)
    robust = usable & ~brittle & (margins.withstood >= eps)
    low, high = clean.margin[brittle], clean.margin[robust]
    detail: dict[str, Any] = {
        "threshold_eps": eps,
        "brittle": len(low),
        "robust": len(high),
        "left_out": int((usable & ~brittle & ~robust).sum()),
        "misclassified": int((~clean.correct).sum()),
    }
    reason = None
    if math.isinf(eps):
        reason = "the run has no budget"
    elif min(len(low), len(high)) < FEWEST:
        reason = f"{len(low)} brittle and {len(high)} robust samples, fewer than {FEWEST} of one"
    if reason:
        none: Value = (None, detail | {"reason": reason})
        return {"brittle_auroc": none, "brittle_fpr95": none}
    return {
        "brittle_auroc": _estimate(auroc(low, high, LEVEL), detail, ""),
        "brittle_fpr95": (false_positive_rate(low, high, FOUND), detail),
    }


def _estimate(found: Estimate, detail: dict[str, Any], reason: str) -> Value:
    if math.isnan(found.value):
        return None, detail | {"reason": reason}
    return found.value, detail | {"low": found.low, "high": found.high, "level": LEVEL}
