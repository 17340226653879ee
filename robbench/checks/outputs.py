"""The outputs: equal each time and in any batch, logits, and made by a plain forward pass."""

from __future__ import annotations

import torch

from robbench.checks.base import Reading, none_may_be
from robbench.checks.evidence import Evidence, Skip
from robbench.core.tiles import Tiles
from robbench.engine.inspection import SAME, differ, watched
from robbench.engine.oracle import forward_tiles
from robbench.models.base import interface_of
from robbench.models.outputs.scales import bounded, probabilities

SMALL = Tiles(8, 8)  # a small batch


def random(e: Evidence) -> Reading:
    """Asked twice, the model gives the same answer.

    Figures: good models 0; random inputs 1.
    """
    e.require_deterministic()
    bad = differ(e.answers.logits, e.answers.ask(e.answers.x))
    return none_may_be(e, bad, "samples get another answer when asked again: attack with eot")


def batch_width(e: Evidence) -> Reading:
    """A sample gets the same answer in a small batch in reverse order (Carlini et al. 2019).

    Figures: good models 0; random inputs and statistics of the batch 1.
    """
    e.require_deterministic()
    logits = e.answers.logits
    order = torch.arange(len(e.split) - 1, -1, -1, device=e.device)
    alone = e.answers.ask(e.answers.x[order], SMALL).flip(0)
    rounding = (logits - alone).norm(dim=1) <= SAME * logits.norm(dim=1)  # it may decide a tie
    bad = differ(logits, alone) & ~rounding
    text = "samples get another answer in another batch: layers in training mode?"
    return none_may_be(e, bad, text)


def logits(e: Evidence) -> Reading:
    """The outputs are logits: no (log-)probabilities, nor all in [0,1] (AutoAttack's check).

    Figures: good models 0; softmax, log-softmax and sigmoid 1.
    """
    if interface_of(e.model.model).scale != "logits":
        raise Skip("the outputs are read as probabilities, as was asked for")
    found = probabilities(e.answers.logits) or bounded(e.answers.logits)
    text = "the outputs are logits"
    if found:
        text = f"the outputs are {found[0]}: return the logits before the {found[1]}"
    return Reading(found is not None, float(found is not None), 0.0, text)


def dynamic(e: Evidence) -> Reading:
    """No optimisation or differentiation inside the forward pass (AutoAttack's check).

    Figures: good models 0; inputs purified by a gradient step 1.
    """
    e.charge(2 * SMALL.rows)
    _, found, _ = watched(lambda: forward_tiles(e.model, e.answers.x[: SMALL.rows], SMALL))
    text = "a plain forward pass"
    if found:
        text = "the model differentiates inside its forward pass: write an adaptive attack"
    return Reading(found, float(found), 0.0, text)
