"""The model's answers: the same each time and in any company, logits, and made by a plain forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.checks.base import Reading
from robbench.checks.evidence import Evidence
from robbench.core.tiles import Tiles
from robbench.engine.flags import SAME, differ, watched
from robbench.engine.oracle import forward_tiles
from robbench.models.outputs import bounded, probabilities

SMALL = Tiles(8, 8)  # a small batch


def random(e: Evidence) -> Reading:
    """Asked again, the model gives the same answer.

    Figures: good models 0; random inputs 1.
    """
    e.steady()
    return _any(
        e,
        differ(e.logits, e.ask(e.x)),
        "samples get another answer when asked again: attack with eot",
    )


def batch_width(e: Evidence) -> Reading:
    """A sample gets the same answer in a small batch, in another order, as in a large one (Carlini et al. 2019).

    Figures: good models 0; random inputs and statistics of the batch 1.
    """
    e.steady()
    order = torch.arange(len(e.split) - 1, -1, -1, device=e.device)
    alone = e.ask(e.x[order], SMALL).flip(0)
    rounding = (e.logits - alone).norm(dim=1) <= SAME * e.logits.norm(dim=1)  # which may turn a tie
    return _any(
        e,
        differ(e.logits, alone) & ~rounding,
        "samples get another answer in another batch: layers in training mode?",
    )


def logits(e: Evidence) -> Reading:
    """The outputs are logits, no probabilities and no log-probabilities (AutoAttack's check), nor all in [0,1].

    Figures: good models 0; softmax, log-softmax and sigmoid 1.
    """
    found = probabilities(e.logits) or bounded(e.logits)
    text = (
        f"the outputs are {found[0]}: return the logits before the {found[1]}"
        if found
        else "the outputs are logits"
    )
    return Reading(found is not None, float(found is not None), 0.0, text)


def dynamic(e: Evidence) -> Reading:
    """No optimisation or differentiation inside the forward pass (AutoAttack's check).

    Figures: good models 0; inputs purified by a gradient step 1.
    """
    e.afford(2 * SMALL.rows)
    _, found, _ = watched(lambda: forward_tiles(e.model, e.x[: SMALL.rows], SMALL))
    text = (
        "the model differentiates inside its forward pass: write an adaptive attack"
        if found
        else "a plain forward pass"
    )
    return Reading(found, float(found), 0.0, text)


def _any(e: Evidence, bad: Tensor, text: str) -> Reading:
    figure = float(bad.sum()) / max(len(bad), 1)
    return Reading(
        bool(bad.any()), figure, 0.0, f"{int(bad.sum())} of {len(bad)} {text}", e.ids(bad)
    )
