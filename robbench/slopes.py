"""Gradients of objectives at the logits in closed form, which spares autograd's many small steps.

Value and gradient are those of `objectives.py` and autograd; several largest logits that tie share
it evenly, as there. What is more than a choice of logits is computed in float64 and rounded: no two
processors have the same float32 exponential. Shapes: logits [B,K], value [B], gradient [B,K].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robbench import objectives
from robbench.core import fused
from robbench.core.device import widest
from robbench.objectives import Objective, guard, largest, straight_from
from robbench.threat.problem import Problem

Slope = Callable[[Tensor, Problem], tuple[Tensor, Tensor]]
STRAIGHT = straight_from(torch.float64)
LEAST_CLASSES = 4  # of fewer the targeted DLR is another function


def slope_of(objective: Objective, p: Problem, classes: int) -> Slope | None:
    """Value and gradient of an objective for these rows, None where autograd has to find them."""
    return None if p.targeted or classes < LEAST_CLASSES else SLOPES.get(objective)


def cross_entropy(logits: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
    """softplus(l - z_y), l = logsumexp_{k != y} z_k: sigmoid(l - z_y) (exp(z_k - l) - [k = y])."""
    tempered = p.tempered(logits)
    dense = tempered.contiguous()  # whose layout may depend on their number
    if fused.fusable(dense):
        value, gradient = fused.cross_entropy(dense, p.y, STRAIGHT)
    else:
        z, label = tempered.to(widest(logits.device)), p.y[:, None]
        others = z.scatter(1, label, -torch.inf)
        total = others.logsumexp(1, keepdim=True)
        gap = total - z.gather(1, label)
        # Not torch's sigmoid: it rounds the last elements of a tensor otherwise.
        straight, slope = gap > STRAIGHT, 1 / (1 + (-gap).exp())
        value = torch.where(straight, gap, gap.clamp(max=STRAIGHT).exp().log1p())[:, 0]
        gradient = ((others - total).exp() * slope).scatter(1, label, -slope)
        value, gradient = value.to(logits.dtype), gradient.to(logits.dtype)
    if tempered is not logits and p.temperature is not None:
        gradient = gradient / p.temperature[:, None].to(gradient)
    return value, gradient


def margin(logits: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
    """max_{k != y} z_k - z_y: 1 for that class, shared where several tie, and -1 for y."""
    label = p.y[:, None]
    others = logits.scatter(1, label, -torch.inf)
    top = others.amax(1, keepdim=True)
    largest = (others == top).to(logits)
    gradient = (largest / largest.sum(1, keepdim=True)).scatter_(1, label, -1.0)
    return (top - logits.gather(1, label))[:, 0], gradient


def target_lead(logits: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
    """z_t - z_y: 1 for t, -1 for y."""
    target, label = p.target[:, None], p.y[:, None]
    gradient = torch.zeros_like(logits).scatter_(1, target, 1.0).scatter_(1, label, -1.0)
    return (logits.gather(1, target) - logits.gather(1, label))[:, 0], gradient


def dlr_targeted(logits: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
    """(z_t - z_y) / s with s = z_(1) - (z_(3) + z_(4)) / 2.

    1 / s for t, -1 / s for y, and -value / s times the gradient of s.
    """
    logits = logits.contiguous()
    if fused.fusable(logits):
        return fused.dlr_targeted(logits, p.y, p.target, guard(logits))
    z = logits.to(widest(logits.device))
    order = largest(z, LEAST_CLASSES)
    places = torch.cat([p.target[:, None], p.y[:, None], order], 1)
    target, label, first, _, third, fourth = z.gather(1, places).unbind(1)
    scale = first - (third + fourth) / 2 + guard(z)
    value, up = (target - label) / scale, scale.reciprocal()
    down = value / scale
    half = down / 2
    parts = torch.stack([up, -up, -down, torch.zeros_like(up), half, half], 1)
    gradient = torch.zeros_like(z).scatter_add_(1, places, parts)
    return value.to(logits.dtype), gradient.to(logits.dtype)


SLOPES: dict[Objective, Slope] = {
    objectives.cross_entropy: cross_entropy,
    objectives.margin: margin,
    objectives.target_lead: target_lead,
    objectives.dlr_targeted: dlr_targeted,
}
