"""Gradient health: there is one, it is a number, it is not zero, and it is the slope of what the model does."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.checks.base import Reading, Skip, counted
from robbench.checks.evidence import Evidence
from robbench.core import keyed
from robbench.core.rows import lift
from robbench.engine.flags import VANISHING
from robbench.objectives import margin, margins

AT = 0.02  # half the distance of the two points, as a share of eps ...
MOST = 0.01  # ... and at most, as in l1 it is that of one pixel


def no_gradient(e: Evidence) -> Reading:
    """The output depends on the input in a way that autograd can follow.

    Figures: good models 0; a detached input 1.
    """
    found, reason = e.gradients
    text = (
        "the model has a gradient" if found else f"no gradient ({reason}): {e.hint('no-gradient')}"
    )
    return Reading(
        not found,
        float(not found),
        0.0,
        text,
        () if found else e.ids(torch.ones(len(e.split), dtype=torch.bool)),
    )


def non_finite(e: Evidence) -> Reading:
    """Gradients are numbers, at the inputs and near them.

    Figures: good models 0; a root of zero 1.
    """
    bad = torch.stack([~torch.isfinite(flat).all(1) for flat in _flat(e)]).any(0)
    return _any(e, bad, "samples have NaN or infinite gradients, which attacks take as zero")


def zero(e: Evidence) -> Reading:
    """No gradient of cross-entropy is exactly zero.

    Figures: good models 0; logits times 12 0.03, times 1000 0.95, rounded inputs 1.
    """
    bad = torch.stack([(flat == 0).all(1) for flat in _flat(e)]).any(0)
    return _any(e, bad, f"samples have a gradient of exactly zero: {e.hint('zero-gradient-met')}")


def vanishing(e: Evidence) -> Reading:
    """No gradient is so small that its digits are lost (denormal numbers among them).

    Figures: good models 0; logits times 12 0.27.
    """
    largest = torch.stack([flat.abs().amax(1) for flat in _flat(e)])
    bad = ((largest > 0) & (largest < VANISHING)).any(0)
    return _any(e, bad, f"samples have a gradient below {VANISHING:g}: {e.hint('vanishing')}")


def slope(e: Evidence) -> Reading:
    """The gradient of the logit margin agrees with what the margin does between two points on either side of the input.

    Along the steepest direction of the gradient and along a random one, each of the norm AT eps; a
    sample disagrees where the two differ by more than half of what they are (a kink of a ReLU
    inside changes less).

    Figures: good models up to 0.016; straight-through rounding 0.5, other masks 0.86 to 1.
    """
    e.steady()
    p, norm = e.problem, e.budget.norm
    room = lift((AT * p.eps).clamp(max=MOST), p.x0)
    # Not at the input itself, which may be a special point such as a grid's, nor where both points
    # would not be in the box.
    inside = torch.minimum(torch.maximum(p.ball.uniform(), room), 1 - room)
    gradient = e.slope(inside, margin)
    errors, sizes = torch.zeros(len(p)), torch.zeros(len(p))
    random = norm.on_sphere(keyed.fold(p.key, 1), p.x0.shape[1:], p.x0.dtype)
    for direction in (norm.steepest(gradient), random):
        step = room * direction
        high, low = (-margins(e.ask(x), e.labels) for x in (inside + step, inside - step))
        said = 2 * (gradient * step).flatten(1).sum(1).cpu()
        errors, sizes = errors + (high - low - said).abs(), sizes + (high - low).abs() + said.abs()
    bad = errors > 0.5 * sizes
    return counted(
        e,
        bad,
        sizes > 0,
        0.2,
        "samples have a gradient that is not the slope of the margin: masked, or replaced",
    )


def _flat(e: Evidence) -> list[Tensor]:
    found, _ = e.gradients
    if not found:
        raise Skip("the model has no gradient")
    return [gradient.flatten(1) for gradient in found]


def _any(e: Evidence, bad: Tensor, text: str) -> Reading:
    everyone = torch.ones(len(e.split), dtype=torch.bool)
    figure = float(bad.sum()) / max(len(bad), 1)
    return Reading(
        bool(bad.any()), figure, 0.0, f"{int(bad.sum())} of {len(everyone)} {text}", e.ids(bad)
    )
