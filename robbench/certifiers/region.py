"""The inputs that a certificate is about: a ball around each sample, cut by the box [0,1]."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from robbench.threat.norms import BOX
from robbench.threat.tolerance import largest_that_fits


@dataclasses.dataclass(frozen=True)
class Region:
    """{x in [0,1]: size(x - x0) <= eps, x = x0 in fixed entries} of B samples, in float64.

    It is as wide as the budget with the tolerance that successes of attacks are confirmed with.
    `low` and `high` [B,*] are its smallest box. x0: the samples; free [B,*]: 1 in entries that may
    change, else 0.
    """

    x0: Tensor
    low: Tensor
    high: Tensor
    free: Tensor
    eps: float
    norm: str  # linf or l2

    @classmethod
    def around(cls, x: Tensor, eps: float, norm: str, free: Tensor | None = None) -> Region:
        """Around samples x [B,*]; free [*] bool: the entries that may change, None = all."""
        x0, size = x.double(), largest_that_fits(eps)
        moves = torch.ones_like(x0) if free is None else free.double().expand_as(x0)
        low = torch.minimum((x0 - size * moves).clamp(*BOX), x0)
        high = torch.maximum((x0 + size * moves).clamp(*BOX), x0)
        return cls(x0, low, high, moves, size, norm)

    def lowest(self, weights: Tensor) -> Tensor:
        """[B,S]: lower bounds of <w, x> for weights w [B,S,*], by the dual norm.

        Over the box this is exact; under l2 the larger of it and of the whole ball is taken.
        """
        w = weights.flatten(2)
        box = lowest_in_box(w, self.low.flatten(1), self.high.flatten(1))
        if self.norm == "linf":
            return box
        at_centre = (w * self.x0.flatten(1)[:, None]).sum(2)
        moved = w * self.free.flatten(1)[:, None]
        return torch.maximum(box, at_centre - self.eps * torch.linalg.vector_norm(moved, dim=2))

    @property
    def largest(self) -> Tensor:
        """[B,*]: the largest size of each entry."""
        return torch.maximum(self.low.abs(), self.high.abs())


def lowest_in_box(weights: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """[B,S]: the smallest <w, x> for low <= x <= high [B,D] and weights w [B,S,D]."""
    return (weights.clamp(min=0) @ low[..., None] + weights.clamp(max=0) @ high[..., None])[..., 0]
