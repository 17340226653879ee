"""The points themselves, as they lie on disk."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.checks.base import Reading, Skip, counted
from robbench.checks.evidence import PROBE, Evidence
from robbench.engine.flags import SAME
from robbench.objectives import margins
from robbench.threat.problem import BOX, size_and_fits

ROUNDING = 1e-6  # of clean + stored difference in float32


def constraints(e: Evidence) -> Reading:
    """Stored points, read again in float32: in the box and the budget, finite, and classified as the rows say.

    Also no sample that fell to an attack is without one. The labels of a random model, attacked as
    one, are not asked for.

    Figures: 0, as it must be.
    """
    place = [i for i, sample in enumerate(e.split.ids.tolist()) if sample in e.points]
    fell = torch.tensor([row["adversarial"] and row["broken_by"] != "clean" for row in e.rows])
    kept = torch.zeros_like(fell)
    bad = torch.zeros_like(fell)
    if place:
        kept[place] = True
        x = torch.stack([e.points[int(e.split.ids[i])] for i in place])
        p = e.problem.take(torch.tensor(place, device=e.device))
        boxed = (
            ((x >= BOX[0] - ROUNDING) & (x <= BOX[1] + ROUNDING)).flatten(1).all(1)
        )  # NaN fails both
        inside = x.clamp(*BOX)
        logits = e.ask(inside)
        clear = margins(logits, e.labels[place]).abs() > SAME * logits.norm(
            dim=1
        )  # another batch may turn a tie
        wrong = logits.argmax(1) != e.labels[place]
        bad[place] = ~(boxed & size_and_fits(inside, p)[1]).cpu() | (
            (wrong != fell[place]) & clear & (not e.averaged)
        )
    bad |= fell & ~kept
    text = f"{int(bad.sum())} of {len(place)} stored points are missing, out of bounds, or not classified as the rows say"
    return Reading(bool(bad.any()), float(bad.double().mean()), 0.0, text, e.ids(bad))


def quantised(e: Evidence) -> Reading:
    """Adversarial points survive being saved as 8-bit images.

    Figures: good models at linf:0.15 up to 0.067; random inputs 0.35 to 0.66. Small budgets lose
    more, and so it only informs.
    """
    points = _adversarial(e)
    if not points:
        raise Skip("no adversarial points")
    place = list(points)
    wrong = (
        e.ask((torch.stack([points[i] for i in place]).clamp(*BOX) * 255).round() / 255).argmax(1)
        != e.labels[place]
    )
    lost, fell = (
        torch.zeros(len(e.split), dtype=torch.bool),
        torch.zeros(len(e.split), dtype=torch.bool),
    )
    lost[place], fell[place] = ~wrong, True
    return counted(
        e, lost, fell, 0.2, "adversarial points are classified correctly once rounded to 8 bits"
    )


def _adversarial(e: Evidence) -> dict[int, Tensor]:
    """Points that break a sample, by its position: the run's, else those of PROBE."""
    if e.has_run:
        ids = e.split.ids.tolist()
        return {
            i: e.points[ids[i]]
            for i, row in enumerate(e.rows)
            if ids[i] in e.points and row["adversarial"]
        }
    tried = e.attack(PROBE)
    return {i: x for i, x in tried.points.items() if tried.found[i]}
