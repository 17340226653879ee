"""DDN, decoupled direction and norm: Rony et al. 2019, arXiv:1811.09600, algorithm 1.

The perturbation takes a gradient step of length alpha and is then rescaled to a radius, which
shrinks by 1 - gamma after a misclassified point and grows by 1 + gamma after any other:

    delta <- delta + alpha_t g / ||g||,   x <- clip(x0 + radius delta / ||delta||),
    alpha_t from 1 to 0.01 along a cosine.

Option, not in the paper: the last `polish` moves, which need no gradient, bisect the way from x0 to
the nearest adversarial point found. In short runs that is worth more than as many steps.

Deviations, on purpose: nothing is rounded to 256 levels, as the authors' code does unless asked
otherwise, so its distances are others. A row whose gradient is exactly zero keeps its direction;
the authors draw a random one. From the authors' code: the radius never exceeds the distance of the
box's farthest corner.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.schedules import cosine
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import cross_entropy
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    radius: Tensor  # [B] length that its perturbation was given, before the box
    top: Tensor  # [B,*] nearest adversarial point found, x0 before there is one
    size: Tensor  # [B] its distance, inf before there is one
    low: Tensor  # [B] share of the way to it below which polishing does not look


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDN(Attack[State]):
    """Decoupled direction and norm: smallest in L2 (Rony et al. 2019, arXiv:1811.09600)."""

    norms: ClassVar[frozenset[str]] = frozenset({"l2"})
    goal = "minimum-norm"
    can_target = True
    objective = "cross-entropy"
    steps: Annotated[int, Field(ge=1, description="moves")] = 100
    gamma: Annotated[
        Number,
        Field(gt=0, lt=1, description="share by which the radius shrinks or grows in a step"),
    ] = 0.05
    init: Annotated[Number, Field(gt=0, description="radius at the start")] = 1.0

    polish: Annotated[
        int,
        Field(ge=0, description="how many of the moves bisect the way to the nearest point found"),
    ] = 0

    def start(self, p: Problem) -> State:
        radius, low = (
            torch.full_like(p.eps, self.init),
            torch.full_like(p.eps, max(0.0, 1 - 2 * self.gamma)),
        )
        return State(
            x=p.x0, radius=radius, top=p.x0, size=torch.full_like(p.eps, torch.inf), low=low
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        descent = max(self.steps - self.polish, 1)
        a = q.grad(s.x, cross_entropy, need=t < descent)
        size = p.norm.size(s.x - p.x0)
        s = s.where(a.hit & (size < s.size), top=s.x, size=size)

        alpha = cosine(1.0, 0.01, descent, t.device)[t.clamp(max=descent)].to(s.x.dtype)
        delta = s.x - p.x0 + lift(alpha, s.x) * p.norm.steepest(a.grad)
        radius = torch.where(a.hit, (1 - self.gamma) * s.radius, (1 + self.gamma) * s.radius)
        radius = torch.minimum(radius, p.norm.size(torch.maximum(p.x0, 1 - p.x0)))
        x = p.ball.into_box(p.x0 + lift(radius, delta) * p.norm.steepest(delta))
        if not self.polish:
            return s.replace(x=x, radius=radius)

        middle = (1 + s.low) / 2  # what was looked at, if this was a bisection
        low = pick(t > descent, pick(a.hit, s.low / middle, middle), s.low)
        between = p.x0 + lift((1 + low) / 2, s.x) * (s.top - p.x0)
        return s.replace(x=pick(t < descent, x, between), radius=radius, low=low)

    def point(self, s: State) -> Tensor:
        return s.x
