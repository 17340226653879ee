"""FGSM: Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, section 4.

One steepest step of length eps from the clean input.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core.rows import Rows
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
    steps = 1
    can_target = True

    def start(self, p: Problem) -> State:
        return State(x=p.x0)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, find_objective(self.objective))
        return State(x=p.ball.ascend(s.x, a.grad, p.eps))

    def point(self, s: State) -> Tensor:
        return s.x
