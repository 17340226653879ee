"""The smallest budget at which an attack succeeds, by bisection.

As in Carlini and Wagner 2017, arXiv:1608.04644, section V.

Each row runs the inner attack at budgets of its own. lo is the largest budget at which a run
failed, hi the size of the smallest adversarial point:

    a run ends at its first success:  hi <- size of that point (not the budget, which may be
                                      larger);   eps <- (lo + hi) / 2
    or after all its queries:         lo <- eps;     eps <- (lo + hi) / 2, or 2 eps as long as
                                      no point is known

No budget is larger than the farthest corner of the box, nor than the threat's eps if that is
finite; the first run is then at eps itself, so that the verdict there is the inner attack's own. In
l0 and l0px budgets are whole numbers. A failed run proves nothing: the result is an upper bound of
the distance, as good as the inner attack, and a success at less than lo sets lo back to 0. All runs
of a row draw the same random numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Answer, AnyRowAttack, Oracle
from robbench.attacks.eot import Wrapper
from robbench.core.errors import UserError
from robbench.core.rows import Rows, pick
from robbench.core.spec import Number, OrNone
from robbench.objectives import Objective
from robbench.threat.problem import Problem, size_and_fits

FIRST = {"linf": 0.1, "l2": 1.0, "l1": 8.0, "l0": 8.0, "l0px": 8.0}


class State(Rows):
    """What a row remembers."""

    inner: Rows  # the running inner attack
    clock: Tensor  # [B] int64 its moves
    eps: Tensor  # [B] its budget
    lo: Tensor  # [B] the largest budget that failed
    hi: Tensor  # [B] the smallest adversarial size, inf before there is one
    left: Tensor  # [B] int64 runs left, this one included


class Watch(Oracle):
    """Passes queries on and checks itself whether they are successes inside the run's budget."""

    hit: Tensor  # [B] bool
    size: Tensor  # [B]

    def __init__(self, q: Oracle, p: Problem, moves: Tensor) -> None:
        self.q, self.p, self.moves = q, p, moves

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, hit = self.q.logits(x)
        self._note(x, hit)
        return logits, hit

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        answer = self.q.grad(x, objective, self.moves if need is None else self.moves & need)
        self._note(x, answer.hit)
        return answer

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, grad, hit = self.q.jacobian(x, classes, need)
        self._note(x, hit)
        return logits, grad, hit

    def _note(self, x: Tensor, hit: Tensor) -> None:
        self.size, fits = size_and_fits(x, self.p)
        self.hit = hit & fits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Minimal(Wrapper):
    """The smallest budget at which another attack succeeds, by bisection.

    Each of its restarts or targets has a search of its own.
    """

    rounds: Annotated[int, Field(ge=1, description="runs of the attack per sample at most")] = 12
    high: Annotated[
        Annotated[Number, Field(gt=0)] | None,
        OrNone,
        Field(
            description="budget of the first run where the threat model has none; "
            "none = linf 0.1, l2 1, l1 8, l0 8, l0px 8"
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(goal="minimum-norm", steps=self.rounds * (self.inner.steps + 1) - 1)

    def _refuse(self, inner: AnyRowAttack, spec: str) -> None:
        if inner.goal == "minimum-norm":
            raise UserError(
                f"attack {spec} seeks the smallest perturbation by itself: run it as it is"
            )

    def start(self, p: Problem) -> State:
        largest = self._largest(p)
        eps = pick(torch.isinf(p.eps), largest.clamp(max=self.high or FIRST[p.norm.name]), p.eps)
        zero = torch.zeros_like(p.y)
        return State(
            inner=self.inner.start(p.replace(eps=eps)),
            clock=zero,
            eps=eps,
            lo=torch.zeros_like(eps),
            hi=torch.full_like(eps, torch.inf),
            left=zero + self.rounds,
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        here = p.replace(eps=s.eps)
        watch = Watch(q, here, s.clock < self.inner.steps)
        moved = self.inner.step(s.inner, s.clock, here, watch)

        over = s.clock >= self.inner.steps
        if (done := self.inner.done(moved)) is not None:
            over = over | done
        failed, over = over & ~watch.hit, over | watch.hit
        lo, hi = pick(failed, s.eps, s.lo), pick(watch.hit, torch.minimum(watch.size, s.hi), s.hi)
        lo = pick(lo < hi, lo, torch.zeros_like(lo))  # a success below a budget that failed

        eps = pick(torch.isinf(hi), torch.minimum(2 * s.eps, self._largest(p)), (lo + hi) / 2)
        eps = eps.floor() if p.norm.counts else eps
        between = (eps > lo) & (eps < hi)  # else the search is over: nothing is left to try
        eps = pick(over & between, eps, s.eps)
        left = pick(over, pick(between, s.left - 1, torch.zeros_like(s.left)), s.left)
        fresh = self.inner.start(p.replace(eps=eps))
        clock = pick(over, torch.zeros_like(s.clock), s.clock + 1)
        return State(inner=fresh.choose(over, moved), clock=clock, eps=eps, lo=lo, hi=hi, left=left)

    def point(self, s: State) -> Tensor:
        return self.inner.point(s.inner)

    def done(self, s: State) -> Tensor:
        return s.left <= 0

    @staticmethod
    def _largest(p: Problem) -> Tensor:
        """[B]: the largest budget to try: the threat's, or up to the farthest corner of the box."""
        return torch.minimum(p.eps, p.norm.size(torch.maximum(p.x0, 1 - p.x0)))
