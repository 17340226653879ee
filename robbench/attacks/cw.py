"""C&W: Carlini and Wagner 2017, arXiv:1608.04644, section VI.A, the L2 attack.

With x = (tanh(w) + 1) / 2, Adam minimises ||x - x0||^2 + c max(z_y - max_{k != y} z_k, -kappa) over
w. The constant c is searched for, `search_steps` times from the clean input: ten times more while
nothing was found, else halfway between the largest that failed and the smallest that did not. A
search whose loss has not fallen by 0.01% in a tenth of its iterations is aborted.

Deviations, on purpose. Of cost: the paper takes 9 times 10,000 iterations. From the authors' code:
each row aborts its own search, not the batch's sum; the last of ten or more searches does not
repeat the smallest c. They shrink the inputs by 1e-6, because the inverse tanh of 0 and 1 is
infinite. But so deep in the tanh's tail a pixel takes hundreds of iterations to come out, and black
or white ones all but stay. Here the shrink is larger and cancels: x = clip(x0 + (tanh(w) -
tanh(w0)) / 2), which is x0 itself at the start, and the squared distance is to x0.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.schedules import BETA1, BETA2, TINY, corrections
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import margin
from robbench.threat.problem import Problem

NO_UPPER_BOUND = 1e10


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    w: Tensor  # [B,*] the same before the tanh
    w0: Tensor  # [B,*] w at the clean input
    m: Tensor  # [B,*] Adam's averages of the gradient and its square
    v: Tensor  # [B,*]
    k: Tensor  # [B] int64: moves in this search
    search: Tensor  # [B] int64: searches that are over
    c: Tensor  # [B] weight of the margin
    low: Tensor  # [B] largest c that failed
    high: Tensor  # [B] smallest c that did not
    found: Tensor  # [B] bool: this c has led to an adversarial point
    before: Tensor  # [B] the loss when it was last looked at, to abort


@dataclasses.dataclass(frozen=True, kw_only=True)
class CarliniWagner(Attack[State]):
    """Smallest L2 perturbation by penalty (Carlini and Wagner 2017, arXiv:1608.04644).

    Adam, and a search over the weight of the penalty.

    The paper's cost is search_steps=9, iterations=10000.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"l2"})
    goal = "minimum-norm"
    can_target = True
    search_steps: Annotated[int, Field(ge=1, description="values of c that are tried")] = 9
    iterations: Annotated[int, Field(ge=1, description="moves for each c")] = 500
    rate: Annotated[Number, Field(gt=0, description="Adam's step length")] = 0.01
    c: Annotated[
        Number, Field(gt=0, description="first weight of the margin against the squared distance")
    ] = 1e-3
    kappa: Annotated[
        Number, Field(ge=0, description="logit margin by which a point must be wrong")
    ] = 0.0
    abort_early: Annotated[
        bool, Field(description="give up on a c when the loss has stalled for a tenth of the moves")
    ] = True
    shrink: Annotated[
        Number, Field(gt=0, lt=1, description="how far inside of -1 and 1 the tanh starts")
    ] = 0.05

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Every search scores its start and each move."""
        return self.search_steps * (self.iterations + 1) - 1

    def start(self, p: Problem) -> State:
        zero, none = torch.zeros_like(p.x0), torch.zeros_like(p.eps)
        u = self._tanh_w0(p)
        w0 = (
            torch.log1p(u) - torch.log1p(-u)
        ) / 2  # torch's atanh rounds the last elements of a tensor otherwise
        return State(
            x=p.x0,
            w=w0,
            w0=w0,
            m=zero,
            v=zero,
            k=torch.zeros_like(p.y),
            search=torch.zeros_like(p.y),
            c=none + self.c,
            low=none,
            high=none + NO_UPPER_BOUND,
            found=torch.zeros_like(p.y, dtype=torch.bool),
            before=none + torch.inf,
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, margin, need=s.k < self.iterations)
        gap = self.kappa - a.value  # z_y - max_k z_k + kappa
        loss = (s.x - p.x0).square().flatten(1).sum(1) + s.c * gap.clamp(min=0)
        s = s.replace(found=s.found | (a.hit & (gap <= 0)))
        look = s.k % -(-self.iterations // 10) == 0
        stalled = look & (loss > 0.9999 * s.before) if self.abort_early else torch.zeros_like(look)

        push = 2 * (s.x - p.x0) - lift(pick(gap > 0, s.c, torch.zeros_like(s.c)), s.x) * a.grad
        g = push * (1 - s.w.tanh().square()) / 2
        m, v = BETA1 * s.m + (1 - BETA1) * g, BETA2 * s.v + (1 - BETA2) * g.square()
        first, second = (
            lift(row.to(g.dtype), g) for row in corrections(self.iterations, t.device)[:, s.k]
        )
        w = s.w - self.rate * (m / first) / ((v / second).sqrt() + TINY)
        x = p.ball.into_box(p.x0 + (w.tanh() - self._tanh_w0(p)) / 2)
        moved = s.replace(x=x, w=w, m=m, v=v, k=s.k + 1, before=pick(look, loss, s.before))
        return self._next_search(s, p).choose(stalled | (s.k >= self.iterations), moved)

    def _next_search(self, s: State, p: Problem) -> State:
        """From the clean input again, with another c."""
        zero, none = torch.zeros_like(s.x), torch.zeros_like(s.k)
        low, high = pick(s.found, s.low, s.c), pick(s.found, s.c, s.high)
        c = pick(high < NO_UPPER_BOUND, (low + high) / 2, 10 * s.c)
        return s.replace(
            x=p.x0,
            w=s.w0,
            m=zero,
            v=zero,
            k=none,
            search=s.search + 1,
            c=c,
            low=low,
            high=high,
            found=none.bool(),
            before=torch.full_like(c, torch.inf),
        )

    def _tanh_w0(self, p: Problem) -> Tensor:
        return (2 * p.x0 - 1) * (1 - self.shrink)

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return s.search >= self.search_steps
