"""Which wrong class is near: by its logit, or by the distance of its linearised boundary.

The distance is DeepFool's and FAB's first step, (z_y - z_k) / |grad(z_k - z_y)|_dual. MALT
(Melamed, Yehudai and Shamir 2024, arXiv:2407.02240) ranks targets by it at the clean input.

Deviations from MALT's code, on purpose. A class without a gradient comes last; its 0 would be
first. It linearises all classes at once; here 9 at a time, so that memory is bounded.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import Oracle
from robbench.threat.problem import Problem

Order = Literal["margin", "distance"]
MOST = 100  # of the likeliest wrong classes that are ranked by distance
AT_ONCE = 9  # classes whose gradients are held at the same time


class Boundaries(NamedTuple):
    """Of the classes k of each row, linearised at a point."""

    gap: Tensor  # [B,k] z_y - z_k
    normal: Tensor  # [B,k,*] the gradient of z_k - z_y
    distance: Tensor  # [B,k] in the norm; inf where the gradient is zero
    hit: Tensor  # [B] bool


def boundaries(
    x: Tensor, classes: Tensor, p: Problem, q: Oracle, need: Tensor | None = None
) -> Boundaries:
    """Of the classes [B,k], seen from x: one forward and k + 1 backwards per row."""
    classes = torch.cat([p.y[:, None], classes], 1)
    logits, gradients, hit = q.jacobian(x, classes, need)
    z = logits.gather(1, classes)
    gap, normal = z[:, :1] - z[:, 1:], gradients[:, 1:] - gradients[:, :1]
    steepness = p.norm.dual(normal.flatten(0, 1)).reshape(gap.shape)
    distance = torch.where(steepness > 0, gap.abs() / steepness, torch.inf)
    return Boundaries(gap, normal, distance, hit)


def queries(classes: int) -> tuple[int, int]:
    """Forwards and backwards per row, to rank so many classes by distance."""
    ranked = min(MOST, classes - 1)
    forwards = -(-ranked // AT_ONCE)
    return forwards, forwards + ranked


def nearest(p: Problem, q: Oracle, count: int) -> Tensor:
    """[B,min(count,K-1)] int64: the wrong classes with the nearest boundaries at x0, nearest first.

    The likelier first where they tie.
    """
    likely = p.likeliest_wrong(MOST)
    distance = torch.cat(
        [boundaries(p.x0, part, p, q).distance for part in torch.split(likely, AT_ONCE, 1)], 1
    )
    return likely.gather(1, distance.argsort(dim=1, stable=True)[:, :count])


def targets(p: Problem, count: int) -> Tensor:
    """[B,min(count,K-1)] int64: what was prepared, else the likeliest wrong classes at x0."""
    return p.likeliest_wrong(count) if p.prepared is None else p.prepared
