"""MI-FGSM: Dong et al. 2018, arXiv:1710.06081, algorithm 1 and its L2 form.

From the clean input and g = 0:  g <- decay g + grad / |grad|_1,  x <- x + rate eps steepest(g),
where steepest is sign(g) in Linf and g / |g|_2 in L2.

Deviations, on purpose. The paper's rate is 1 / steps, with which no point can leave the ball;
points are projected, so that other rates are sound too.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core.rows import Rows, lift
from robbench.core.spec import Number, OrNone
from robbench.objectives import find_objective
from robbench.threat.problem import Problem


class State(Rows):
    """The rows' points, and their accumulated gradients."""

    x: Tensor  # [B,*]
    g: Tensor  # [B,*] momentum


@dataclasses.dataclass(frozen=True, kw_only=True)
class MIFGSM(Attack[State]):
    """Momentum iterative FGSM (Dong et al. 2018, arXiv:1710.06081), for transferable points."""

    steps: Annotated[int, Field(ge=1, description="moves")] = 10
    decay: Annotated[
        Number, Field(ge=0, description="share of the momentum that a step keeps; 0 = none at all")
    ] = 1.0
    rate: Annotated[
        Annotated[Number, Field(gt=0)] | None,
        OrNone,
        Field(description="step length as a share of eps; none = 1 / steps"),
    ] = None
    objective: Annotated[
        Literal["cross-entropy", "margin", "dlr", "probability-margin"],
        Field(description="what the steps climb"),
    ] = "cross-entropy"
    can_target = True

    def start(self, p: Problem) -> State:
        return State(x=p.x0, g=torch.zeros_like(p.x0))

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, find_objective(self.objective))
        size = a.grad.abs().flatten(1).sum(1)
        g = self.decay * s.g + a.grad / lift(torch.where(size > 0, size, 1.0), a.grad)
        return State(x=p.ball.ascend(s.x, g, (self.rate or 1 / self.steps) * p.eps), g=g)

    def point(self, s: State) -> Tensor:
        return s.x
