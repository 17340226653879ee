"""FGSM: Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, section 4.

One steepest step of length eps from the clean input. Fast adversarial training starts it from
noise, which are options here:

    n ~ U(-k eps, k eps), clipped to the box;   x' = x + n + a eps sign grad CE(x + n)

FGSM-RS (Wong, Rice and Kolter 2020, arXiv:2001.03994, algorithm 3): k = 1, a = 1.25 (10/255 at eps
8/255), then x' is projected. N-FGSM (de Jorge et al. 2022, arXiv:2202.01181, algorithm 1): k = 2,
a = 1, and x' is clipped to the box only, so that it may lie up to (k + a) eps from x. Both by their
authors' code, too. Theirs is linf; in l2 noise is uniform in the ball of k eps (ours).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core.rows import Rows
from robbench.core.spec import Number
from robbench.objectives import find_objective
from robbench.threat.problem import Problem


class State(Rows):
    """The rows' points."""

    x: Tensor  # [B,*]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM(Attack[State]):
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv:1412.6572); L2: normalised."""

    objective: Annotated[
        Literal["cross-entropy", "margin", "dlr", "probability-margin"],
        Field(description="what the step climbs"),
    ] = "cross-entropy"
    noise: Annotated[
        Number, Field(ge=0, description="size of the random start as a share of eps")
    ] = 0.0
    rate: Annotated[Number, Field(gt=0, description="step length as a share of eps")] = 1.0
    clip: Annotated[
        bool, Field(description="project onto the ball; false only as an inner attack of training")
    ] = True
    steps = 1
    can_target = True

    @property
    def leaves_ball(self) -> bool:
        return not self.clip

    def start(self, p: Problem) -> State:
        return State(x=p.replace(eps=self.noise * p.eps).ball.uniform() if self.noise else p.x0)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, find_objective(self.objective))
        room = p if self.clip else p.replace(eps=torch.full_like(p.eps, math.inf))
        return State(x=room.ball.ascend(s.x, a.grad, self.rate * p.eps))

    def point(self, s: State) -> Tensor:
        return s.x
