"""A search between x0 and the nearest adversarial point found, for attacks that end with one."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from robbench.core.rows import Rows, lift
from robbench.threat.problem import Problem


class Bisection(Rows):
    """The way from x0 to the nearest adversarial point found, and what is left of it."""

    top: Tensor  # [B,*] that point, x0 before there is one
    size: Tensor  # [B] its distance, inf before there is one
    low: Tensor  # [B] share of the way that is not adversarial
    high: Tensor  # [B] share that is

    @classmethod
    def of(cls, p: Problem) -> Self:
        """Of rows that have found nothing yet."""
        zero = torch.zeros_like(p.eps)
        return cls(top=p.x0, size=zero + torch.inf, low=zero, high=zero + 1)

    def after(self, x: Tensor, hit: Tensor, halving: Tensor, p: Problem) -> Self:
        """With the answers hit [B] at points x [B,*]; where halving [B], x is the middle."""
        size = p.norm.size(x - p.x0)
        found = self.where(~halving & hit & (size < self.size), top=x, size=size)
        middle = (self.low + self.high) / 2
        return found.where(halving & hit, high=middle).where(halving & ~hit, low=middle)

    def middle(self, p: Problem) -> Tensor:
        """[B,*]: the point to look at next."""
        share = lift((self.low + self.high) / 2, p.x0)
        return p.ball.into_box(p.x0 + share * (self.top - p.x0))
