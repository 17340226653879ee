"""Random points of the ball, one after the other: what any attack with gradients must beat.

As Carlini et al. 2019, arXiv:1902.06705, advise: where random points find a mistake that an attack
with gradients misses, that attack has failed.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core import keyed
from robbench.core.rows import Rows
from robbench.threat.problem import Problem


class State(Rows):
    """The rows' points."""

    x: Tensor  # [B,*]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Attack[State]):
    """Random points of the ball; needs no gradient, and no attack should find less."""

    steps: Annotated[int, Field(ge=1, description="points tried after the first")] = 100
    kind: Annotated[
        Literal["uniform", "surface"],
        Field(description="uniform in the ball, or scaled to its surface; then clipped to [0,1]"),
    ] = "uniform"

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})
    can_target = True
    cuts = frozenset({"steps"})
    access: ClassVar[Literal["white-box", "score-based", "decision-based", "none"]] = "none"

    def start(self, p: Problem) -> State:
        return State(x=p.ball.uniform() if self.kind == "uniform" else p.ball.on_sphere())

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        q.logits(s.x)
        return self.start(p.replace(key=keyed.fold(p.key, t + 1)))

    def point(self, s: State) -> Tensor:
        return s.x
