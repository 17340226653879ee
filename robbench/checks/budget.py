"""The budget eps: zero breaks nothing, a huge one breaks everything, more never breaks less."""

from __future__ import annotations

import torch

from robbench.checks.base import Reading, counted
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.probes import PROBE

NOTHING = 1e-9  # below the rounding of almost every pixel


def zero_eps(e: Evidence) -> Reading:
    """With eps = 0 only those samples are wrong that are wrong without an attack.

    (Carlini et al. 2019.)

    Figures: good models 0, as it must be; random inputs 0.02 to 0.05.
    """
    e.require_deterministic()
    found = e.probe("pgd:steps=3", eps=NOTHING).found
    return counted(
        e,
        found,
        e.right,
        0.0,
        "correct samples were broken with eps = 0: are the answers random?",
    )


def huge_eps(e: Evidence) -> Reading:
    """An eps that can turn every image gray leaves at most the largest class correct.

    (Carlini et al. 2019; Athalye et al. 2018.) What remains correct then was spared by the attack,
    not by the model.

    Figures: good models 0; broken defences 0.25 to 0.84. The threshold is the largest class' share,
    here 0.11 to 0.14.
    """
    if e.split.free is not None:
        raise Skip("some entries are fixed, so no budget makes all inputs alike")
    if e.threat.target is not None:
        raise Skip("alike images are all of one class, which need not be the target")
    most = float(e.labels.bincount().max()) / max(len(e.labels), 1)
    if most > 0.5:
        raise Skip(
            f"{most:.0%} of the samples are of one class, on which even a constant answer is right"
        )
    size = float(e.budget.norm.size(torch.full((1, *e.split.images.shape[1:]), 0.5)))
    standing = e.right & ~e.probe(PROBE, eps=size).found
    figure = float(standing.sum()) / max(len(standing), 1)
    text = (
        f"{int(standing.sum())} of {len(standing)} samples withstand {PROBE} at "
        f"{e.budget.norm_name}:{size:g}, enough to make all images alike"
    )
    return Reading(figure > most, figure, most, text, e.ids(standing))


def monotone_eps(e: Evidence) -> Reading:
    """A sample broken at one eps is broken at every larger one: the perturbation is still allowed.

    Figures: good models 0. A valley narrower than a step gives 0.5 and more (the test's model); on
    broken defences hardly a sample falls at all.
    """
    eps = e.budget.eps
    found = [e.probe(PROBE, eps=eps * factor).found for factor in (0.5, 1.0, 2.0)]
    lost = (found[0] & ~found[1]) | (found[1] & ~found[2])
    text = f"samples that {PROBE} breaks at one eps withstand it at a larger one: its steps mislead"
    return counted(e, lost, found[0] | found[1], 0.02, text)
