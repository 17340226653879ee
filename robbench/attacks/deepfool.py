"""DeepFool: Moosavi-Dezfooli, Fawzi and Frossard 2016, arXiv:1511.04599.

Algorithm 2, and section 3.3 for other norms.

With f_k = z_k - z_y and w_k = grad f_k at the current point, the nearest linearised boundary is
that of the class l with the least |f_k| / ||w_k||_dual. The perturbation r grows by the shortest
step onto it, |f_l| / ||w_l||_dual times the steepest direction of w_l, until the row is
misclassified.

Overshoot: the paper multiplies the final r by 1 + overshoot, the authors' code looks at x0 + (1 +
overshoot) r in every step. The second is used here (so do foolbox's attacks); in the first the last
check is missing. Torchattacks' way, to lengthen each step from the point before, adds up to more.

Deviations, on purpose. The classes are compared to the label, which is the clean prediction of
every row that is attacked; where the gradient of a class equals that of the label, it has no
boundary in sight. Points are clipped to the box, and a step is at least a tenth of the overshoot:
clipped steps fall short of the boundary, so rows would creep up to it for ever (foolbox adds 0.0001
to each for this).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core.rows import Rows, lift
from robbench.core.spec import Number
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    r: Tensor  # [B,*] sum of the steps, without overshoot and box
    hit: Tensor  # [B] bool: the last query was misclassified


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepFool(Attack[State]):
    """Steps to the nearest linearised boundary (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599).

    It stops at its first misclassified point, and asks the model for one gradient per candidate
    class at each step.
    """

    goal = "minimum-norm"
    steps: Annotated[int, Field(ge=1, description="moves at most")] = 50
    overshoot: Annotated[
        Number,
        Field(
            ge=0, description="share by which the perturbation is lengthened, to cross the boundary"
        ),
    ] = 0.02
    candidates: Annotated[
        int, Field(ge=1, description="wrong classes whose boundaries are looked at, by clean logit")
    ] = 9

    def gradients(self, classes: int) -> int:
        return 1 + min(self.candidates, classes - 1)

    def start(self, p: Problem) -> State:
        return State(x=p.x0, r=torch.zeros_like(p.x0), hit=torch.zeros_like(p.y, dtype=torch.bool))

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        classes = torch.cat([p.y[:, None], p.likeliest_wrong(self.candidates)], 1)
        z, gradients, hit = q.jacobian(s.x, classes)
        f = (z.gather(1, classes) - z.gather(1, p.y[:, None]))[:, 1:]
        w = (gradients - gradients[:, :1])[:, 1:]
        steepness = p.norm.dual(w.flatten(0, 1)).reshape(f.shape)
        distance = torch.where(steepness > 0, f.abs() / steepness, torch.inf)
        least, nearest = distance.min(1)
        w_nearest = w[torch.arange(len(w), device=w.device), nearest]
        length = torch.where(
            torch.isfinite(least), torch.maximum(least, self.overshoot / 10 * p.norm.size(s.r)), 0.0
        )
        r = s.r + lift(length, s.r) * p.norm.steepest(w_nearest)
        return State(x=p.ball.into_box(p.x0 + (1 + self.overshoot) * r), r=r, hit=hit)

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return s.hit
