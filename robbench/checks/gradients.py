"""The gradient: it exists, is finite, not zero, and is the slope of what the model computes."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.checks.base import Reading, counted, none_may_be
from robbench.checks.evidence import Evidence, Skip
from robbench.core import keyed
from robbench.core.rows import lift
from robbench.engine.inspection import VANISHING
from robbench.objectives import margin, margins_left

AT = 0.02  # half the distance of the two points, as a share of eps ...
MOST = 0.01  # ... and at most, because in l1 it is that of one pixel


def no_gradient(e: Evidence) -> Reading:
    """The output depends on the input in a way that autograd can follow.

    Skipped for models that are no torch: of those made of torch weights, somebody cut it.
    Figures: good models 0; a detached input 1.
    """
    if not any(True for _ in e.model.model.parameters()):
        e.require("white-box")
    found, reason = e.answers.gradients
    if found:
        return Reading(False, 0.0, 0.0, "the model has a gradient")
    everyone = torch.ones(len(e.split), dtype=torch.bool)
    text = f"no gradient ({reason}): {e.hint('no-gradient')}"
    return Reading(True, 1.0, 0.0, text, e.ids(everyone))


def non_finite(e: Evidence) -> Reading:
    """Gradients are finite, at the inputs and near them.

    Figures: good models 0; a root of zero 1.
    """
    bad = torch.stack([~torch.isfinite(flat).all(1) for flat in _flat(e)]).any(0)
    return none_may_be(e, bad, "samples have NaN or infinite gradients, which attacks take as zero")


def zero(e: Evidence) -> Reading:
    """No gradient of cross-entropy is exactly zero.

    Figures: good models 0; logits times 12 0.03, times 1000 0.95, rounded inputs 1.
    """
    bad = torch.stack([(flat == 0).all(1) for flat in _flat(e)]).any(0)
    text = f"samples have a gradient of exactly zero: {e.hint('zero-gradient-met')}"
    return none_may_be(e, bad, text)


def vanishing(e: Evidence) -> Reading:
    """No gradient is so small that its digits are lost (denormal numbers among them).

    Figures: good models 0; logits times 12 0.27.
    """
    largest = torch.stack([flat.abs().amax(1) for flat in _flat(e)])
    bad = ((largest > 0) & (largest < VANISHING)).any(0)
    text = f"samples have a gradient below {VANISHING:g}: {e.hint('vanishing')}"
    return none_may_be(e, bad, text)


def slope(e: Evidence) -> Reading:
    """The gradient of the logit margin agrees with its finite difference around the input.

    Along the gradient's steepest direction and along a random one, each of the norm AT eps. A
    sample disagrees where the two differ by more than half of their size (a kink of a ReLU inside
    changes less).

    Figures: good models up to 0.016; straight-through rounding 0.5, other broken defences 0.86 to
    1.
    """
    e.require("white-box")
    e.require_deterministic()
    p, norm = e.problem, e.budget.norm
    room = lift((AT * p.eps).clamp(max=MOST), p.x0)
    # Not at the input itself, which may be a special point such as a grid's, nor where one of the
    # two points would leave the box.
    inside = p.held(torch.minimum(torch.maximum(p.ball.uniform(), room), 1 - room))
    gradient = e.answers.slope(p, inside, margin)
    errors, sizes = torch.zeros(len(p)), torch.zeros(len(p))
    random = norm.on_sphere(keyed.fold(p.key, 1), p.x0.shape[1:], p.x0.dtype, p.free)
    for direction in (norm.steepest(gradient), random):
        step = room * direction
        high, low = (
            -margins_left(e.answers.ask(point), p.aim.cpu(), p.targeted)
            for point in (inside + step, inside - step)
        )
        predicted = 2 * (gradient * step).flatten(1).sum(1).cpu()
        errors = errors + (high - low - predicted).abs()
        sizes = sizes + (high - low).abs() + predicted.abs()
    text = "samples have a gradient that is not the slope of the margin: masked, or replaced"
    return counted(e, errors > 0.5 * sizes, sizes > 0, 0.2, text)


def _flat(e: Evidence) -> list[Tensor]:
    found, _ = e.answers.gradients
    if not found:
        raise Skip("the model has no gradient")
    return [gradient.flatten(1) for gradient in found]
