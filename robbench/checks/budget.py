"""The budget eps: none changes nothing, a huge one breaks everything, and more never breaks less."""

from __future__ import annotations

import torch

from robbench.checks.base import Reading, Skip, counted
from robbench.checks.evidence import PROBE, Evidence

NOTHING = 1e-9  # below the rounding of almost every pixel


def zero_eps(e: Evidence) -> Reading:
    """Under a budget of nothing just those samples are wrong that are wrong by themselves (Carlini et al. 2019).

    Figures: good models 0, as it must be; random inputs 0.02 to 0.05.
    """
    e.steady()
    found = e.attack("pgd:steps=3", eps=NOTHING).found
    return counted(
        e,
        found,
        e.right,
        0.0,
        "right samples fell to an attack with a budget of nothing: are the answers random?",
    )


def huge_eps(e: Evidence) -> Reading:
    """With the budget to turn every image into the same gray one, no model keeps more than the largest class.

    (Carlini et al. 2019; Athalye et al. 2018.) What stands then was spared by the attack, not by
    the model.

    Figures: good models 0; masks 0.25 to 0.84. The threshold is the largest class' share, here 0.11
    to 0.14.
    """
    most = float(e.labels.bincount().max()) / max(len(e.labels), 1)
    if most > 0.5:
        raise Skip(
            f"{most:.0%} of the samples are of one class, on which even a constant answer is right"
        )
    size = float(e.budget.norm.size(torch.full((1, *e.split.images.shape[1:]), 0.5)))
    tried = e.attack(PROBE, eps=size)
    stands = e.right & ~tried.found
    figure = float(stands.sum()) / max(len(stands), 1)
    text = f"{int(stands.sum())} of {len(stands)} samples stand {PROBE} at {e.budget.norm_name}:{size:g}, enough to make all alike"
    return Reading(figure > most, figure, most, text, e.ids(stands))


def monotone_eps(e: Evidence) -> Reading:
    """A sample that falls at one budget must fall at every larger one: the perturbation is still allowed.

    Figures: good models 0. A valley narrower than a step gives 0.5 and more (the test's model); on
    masks hardly a sample falls at all.
    """
    eps = e.budget.eps
    found = [e.attack(PROBE, eps=eps * factor).found for factor in (0.5, 1.0, 2.0)]
    lost = (found[0] & ~found[1]) | (found[1] & ~found[2])
    text = f"samples that fell to {PROBE} at half the budget or at it stood at it or at twice as much: its steps do not find the way"
    return counted(e, lost, found[0] | found[1], 0.02, text)
