"""SuperDeepFool: Abdolahpourrad, Moosavi-Dezfooli et al. 2023, arXiv:2303.12481, SDF(inf, 1).

The nearest point of a boundary is where its normal w points away from x0. So, until x is
misclassified:

    x' <- DeepFool from x;   x <- x0 + <x' - x0, w> w,   w the unit normal of the boundary at x'

and at the end a bisection of the way from x0 to the nearest adversarial point found.

At x' the boundary is that between the label and the class predicted there.

Deviations, on purpose. All of it together has `steps` moves; a row that is not done when the
bisection is due goes into it. Points are clipped to the box, and DeepFool's steps are at least a
tenth of its overshoot, as in `deepfool`. Under a targeted threat model the boundary is that between
the target and the largest other class.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.bisection import Bisection
from robbench.attacks.target_order import boundaries
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import margin
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    base: Tensor  # [B,*] where its DeepFool began
    r: Tensor  # [B,*] sum of DeepFool's steps, without overshoot and box
    drawn: Tensor  # [B] bool: x was drawn back onto the normal
    way: Bisection  # to the nearest adversarial point found
    left: Tensor  # [B] int64: halvings left


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuperDeepFool(Attack[State]):
    """DeepFool, drawn back along the boundary's normal (Abdolahpourrad et al., arXiv:2303.12481).

    It asks the model for one gradient per candidate class at each step.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"l2"})
    goal = "minimum-norm"
    can_target = True
    steps: Annotated[int, Field(ge=1, description="moves at most, the bisection included")] = 100
    polish: Annotated[
        int,
        Field(ge=0, description="how many of the moves bisect the way to the nearest point found"),
    ] = 10
    overshoot: Annotated[
        Number, Field(ge=0, description="share by which DeepFool lengthens its perturbation")
    ] = 0.02
    candidates: Annotated[
        int, Field(ge=1, description="wrong classes whose boundaries are looked at, by clean logit")
    ] = 9

    def gradients(self, classes: int) -> int:
        return 1 if classes == 2 else 1 + min(self.candidates, classes - 1)

    def start(self, p: Problem) -> State:
        return State(
            x=p.x0,
            base=p.x0,
            r=torch.zeros_like(p.x0),
            drawn=torch.zeros_like(p.y, dtype=torch.bool),
            way=Bisection.of(p),
            left=torch.zeros_like(p.y) + self.polish + 1,
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        halving = s.left <= self.polish
        gap, w, hit = self._boundary(s.x, p, q, ~halving)
        way = s.way.after(s.x, hit, halving, p)

        halve = halving | (hit & s.drawn) | (t >= max(self.steps - self.polish, 1))
        draw = ~halve & hit
        fool = ~halve & ~hit

        fresh = fool & s.drawn  # DeepFool begins anew from where x was drawn to
        s = s.where(fresh, base=s.x, r=torch.zeros_like(s.x))
        unit = p.norm.steepest(w)
        least = self.overshoot / 10 * p.norm.size(s.r)
        slope = p.norm.dual(w).clamp(min=torch.finfo(gap.dtype).tiny)
        length = (gap.abs() / slope).nan_to_num(0.0)
        r = pick(fool, s.r + lift(torch.maximum(length, least), s.r) * unit, s.r)
        along = ((s.x - p.x0) * unit).flatten(1).sum(1)

        x = p.ball.into_box(s.base + (1 + self.overshoot) * r)
        x = pick(draw, p.ball.into_box(p.x0 + lift(along, s.x) * unit), x)
        return s.replace(
            x=pick(halve, way.middle(p), x),
            r=r,
            drawn=draw,
            way=way,
            left=pick(halve, s.left - 1, s.left),
        )

    def _boundary(
        self, x: Tensor, p: Problem, q: Oracle, need: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B] how far the margin is above 0, the direction that lowers it [B,*], and hit."""
        if p.targeted or p.logits0.shape[1] == 2:
            a = q.grad(x, margin, need)
            return -a.value, a.grad, a.hit
        found = boundaries(x, p.likeliest_wrong(self.candidates), p, q, need)
        lowest = torch.where(found.hit[:, None], found.gap, found.distance).argmin(1)
        rows = torch.arange(len(x), device=x.device)
        return found.gap[rows, lowest], found.normal[rows, lowest], found.hit

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return s.left <= 0
