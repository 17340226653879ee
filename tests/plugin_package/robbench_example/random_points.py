"""Random points of the ball: the weakest attack that is one."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core import keyed
from robbench.core.rows import Rows
from robbench.threat.problem import Problem


class State(Rows):
    """Where the rows stand."""

    x: Tensor  # [B,*]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomPoints(Attack[State]):
    """Uniform random points of the ball, one after the other; asks for no gradient."""

    steps: Annotated[int, Field(ge=1, description="points tried after the first")] = 10

    def start(self, p: Problem) -> State:
        return State(x=p.ball.uniform())

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        q.logits(s.x)
        return State(x=p.replace(key=keyed.fold(p.key, t + 1)).ball.uniform())

    def point(self, s: State) -> Tensor:
        return s.x
