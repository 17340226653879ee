"""PGD: Madry et al. 2018, arXiv:1706.06083, section 2.1, eq. 4.

x <- project(x + rate * eps * steepest(grad)), from a random point of the ball. Inner attack of
adversarial training and a plain evaluation attack; every iterate is checked, not only the last. In
L1 a step moves one entry.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core import keyed
from robbench.core.rows import Rows
from robbench.core.spec import Number, OrNone
from robbench.objectives import UNTARGETED, find_objective
from robbench.threat.problem import Problem


class State(Rows):
    """The rows' points."""

    x: Tensor  # [B,*]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(Attack[State]):
    """Projected gradient descent (Madry et al. 2018, arXiv:1706.06083)."""

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})

    steps: Annotated[int, Field(ge=1, description="moves per restart")] = 40
    rate: Annotated[
        Annotated[Number, Field(gt=0)] | None,
        OrNone,
        Field(description="step length as a share of eps; none = 2.5 / steps"),
    ] = None
    restarts: Annotated[int, Field(ge=1, le=10_000, description="random starts per sample")] = 1
    init: Annotated[
        Literal["uniform", "gaussian", "clean"],
        Field(
            description="uniform in the ball, the input + 0.001 N(0,1) (TRADES, MART), or the input"
        ),
    ] = "uniform"
    objective: Annotated[
        Literal[
            "cross-entropy",
            "margin",
            "soft-margin",
            "dlr",
            "kl-from-clean",
            "probability-margin",
            "true-logit",
        ],
        Field(description="what the steps climb"),
    ] = "cross-entropy"

    cuts = frozenset({"restarts"})

    @property
    def can_target(self) -> bool:
        return self.objective not in UNTARGETED

    def start(self, p: Problem) -> State:
        if self.init == "uniform":
            return State(x=p.ball.uniform())
        if self.init == "gaussian":
            return State(
                x=p.ball.project(
                    p.x0 + 0.001 * keyed.normal(p.key, p.x0.shape[1:], dtype=p.x0.dtype)
                )
            )
        return State(x=p.x0)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, find_objective(self.objective))
        return State(x=p.ball.ascend(s.x, a.grad, (self.rate or 2.5 / self.steps) * p.eps))

    def point(self, s: State) -> Tensor:
        return s.x
