"""Clean logit margins beside what the attack found (Ngnawé et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robbench.checks.base import Reading
from robbench.checks.evidence import Evidence, Skip
from robbench.core.status import UNFINISHED
from robbench.statistics.rank_agreement import auroc

FEWEST = 5  # broken samples, and unbroken ones
MISORDERED = 0.35  # of the pairs: 0.5 is chance


def margin_consistency(e: Evidence) -> Reading:
    """Samples with small clean logit margins are those that fall: 1 - AUROC of their margins.

    Of a run without a budget, the nearer half of the samples stands for those that fall. Fails only
    where the 95 % interval is above the threshold. At chance, 0.5, gradients may be masked, or the
    scale of the logits differs between inputs; a few training methods that set margins (MMA) come
    near it without either.

    Figures: good models up to 0.17, at a budget that breaks most samples up to 0.26; logits divided
    by their own margin 0.68.
    """
    if e.threat.target is not None:
        raise Skip("the run sought a target: its margins are those to the target")
    e.require("score-based")
    margins, fell, stood = _groups(e)
    known = torch.isfinite(margins)
    fell, stood = fell & known, stood & known
    counts = f"{int(fell.sum())} broken and {int(stood.sum())} unbroken samples"
    if min(int(fell.sum()), int(stood.sum())) < FEWEST:
        raise Skip(f"{counts}: fewer than {FEWEST} of one, too few to compare")
    area = auroc(margins[fell], margins[stood])
    figure, least = 1 - area.value, 1 - area.high
    text = f"clean logit margins order {area.value:.0%} of the pairs of {counts} as expected"
    failed = least > MISORDERED
    if failed:
        text += ", chance is 50%: masked gradients, or logits scaled per input: add square"
        return Reading(True, figure, MISORDERED, text, e.ids(fell & (margins > _middle(margins))))
    return Reading(None if figure > MISORDERED else False, figure, MISORDERED, text)


def _groups(e: Evidence) -> tuple[Tensor, Tensor, Tensor]:
    """Clean logit margins [N], and who fell and who stood, bool [N]."""
    if not e.has_run:
        return e.answers.margins.double(), e.reference, e.standing
    ended = e.column("status") != UNFINISHED
    margins = e.column("clean_margin")
    if math.isfinite(e.threat.eps):
        return margins, e.reference, e.standing & ended
    size = e.column(f"dist_{e.threat.norm_name}")
    size = torch.where(e.reference & ~size.isnan(), size, math.inf)
    chosen = e.right & (ended | e.reference)
    if not bool(chosen.any()):
        return margins, chosen, chosen
    near = size <= size[chosen].quantile(0.5, interpolation="lower")
    return margins, chosen & near, chosen & ~near


def _middle(values: Tensor) -> Tensor:
    """The median of those that are finite."""
    return values[values.isfinite()].median()
