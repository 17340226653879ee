"""Checks of the stored adversarial points."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.checks.base import Reading, counted
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.probes import PROBE
from robbench.engine.inspection import SAME
from robbench.objectives import margins
from robbench.threat.problem import BOX, size_and_fits, succeeds

ROUNDING = 1e-6  # of clean + stored difference in float32


def constraints(e: Evidence) -> Reading:
    """Stored points are in the box and the budget, finite, and classified as the rows say.

    They are checked in float32. A sample that an attack broke must have a point. Classes are not
    compared where the run attacked a randomised model as one.

    Figures: 0, as it must be.
    """
    positions = [i for i, sample in enumerate(e.split.ids.tolist()) if sample in e.points]
    broken = torch.tensor([row["adversarial"] and row["broken_by"] != "clean" for row in e.rows])
    kept = torch.zeros_like(broken)
    bad = torch.zeros_like(broken)
    if positions:
        kept[positions] = True
        x = torch.stack([e.points[int(e.split.ids[i])] for i in positions])
        p = e.problem.take(torch.tensor(positions, device=e.device))
        in_box = (x >= BOX[0] - ROUNDING) & (x <= BOX[1] + ROUNDING)  # NaN fails both
        inside = x.clamp(*BOX)
        fits = in_box.flatten(1).all(1) & size_and_fits(inside, p)[1]
        logits = e.answers.ask(inside)
        aim = p.aim.cpu()
        wrong = succeeds(logits.argmax(1), aim, p.targeted)
        # Rounding in another batch may decide a tie.
        clear = margins(logits, aim).abs() > SAME * logits.norm(dim=1)
        misjudged = (wrong != broken[positions]) & clear & (not e.attacked_as_random)
        bad[positions] = ~fits.cpu() | misjudged
    bad |= broken & ~kept
    text = (
        f"{int(bad.sum())} of {len(positions)} stored points are missing, out of bounds, or not "
        "classified as the rows say"
    )
    return Reading(bool(bad.any()), float(bad.double().mean()), 0.0, text, e.ids(bad))


def quantised(e: Evidence) -> Reading:
    """Adversarial points stay adversarial when they are saved as 8-bit images.

    Figures: good models at linf:0.15 up to 0.067; random inputs 0.35 to 0.66. Small budgets lose
    more, so it only informs.
    """
    if len(e.split.images.shape) == 2:
        raise Skip("the inputs are features, no images")
    points = _adversarial(e)
    if not points:
        raise Skip("no adversarial points")
    positions = list(points)
    x = torch.stack(list(points.values())).clamp(*BOX)
    aim = e.problem.aim.cpu()[positions] if e.threat.target else e.labels[positions]
    predicted = e.answers.ask((x * 255).round() / 255).argmax(1)
    wrong = succeeds(predicted, aim, e.threat.target is not None)
    lost = torch.zeros(len(e.split), dtype=torch.bool)
    broken = torch.zeros(len(e.split), dtype=torch.bool)
    lost[positions] = ~wrong
    broken[positions] = True
    what = "no longer the target" if e.threat.target else "classified correctly"
    text = f"adversarial points are {what} once rounded to 8 bits"
    return counted(e, lost, broken, 0.2, text)


def _adversarial(e: Evidence) -> dict[int, Tensor]:
    """Points that break a sample, by its position: the run's, else those of PROBE."""
    if e.has_run:
        ids = e.split.ids.tolist()
        return {
            i: e.points[ids[i]]
            for i, row in enumerate(e.rows)
            if ids[i] in e.points and row["adversarial"]
        }
    result = e.probe(PROBE)
    return {i: x for i, x in result.points.items() if result.found[i]}
