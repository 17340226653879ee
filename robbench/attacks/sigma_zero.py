"""sigma-zero, minimum L0: Cinà et al. 2025, arXiv:2402.01879, algorithm 1.

Descends the logit margin as long as it is positive, and a smooth count of the changed entries:

    g <- grad [ max(z_y - max_{k != y} z_k, 0) + mean_i d_i^2 / (d_i^2 + sigma) ]
    g <- g / ||g||_inf
    d <- clip(d - eta_t Adam(g)),  eta_t from 1 to 0.1 along a cosine;  d_i <- 0 where |d_i| < tau
    tau <- tau + 0.01 eta_t at an adversarial point, tau - 0.01 eta_t at any other, within [0,1]

In l0px an entry is a pixel: d_i^2 is summed over its channels, |d_i| its length.

The threshold tau moves, as in the paper and in adv-lib's and AttackBench's code. In the authors'
own code an indexed copy moves, and tau stays at its first value. As in all of them Adam's step at
move t has the length eta of move t - 1.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.ddn import cosine
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import margin
from robbench.threat.problem import Problem

BETA1, BETA2, TINY = 0.9, 0.999, 1e-8  # Adam's


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    mean: Tensor  # [B,*] Adam's running mean of the gradients
    square: Tensor  # [B,*] and of their squares
    tau: Tensor  # [B] changes below it are taken back


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaZero(Attack[State]):
    """Fewest changed entries or pixels (Cinà et al. 2025, arXiv:2402.01879)."""

    norms: ClassVar[frozenset[str]] = frozenset({"l0", "l0px"})
    goal = "minimum-norm"
    can_target = True
    steps: Annotated[int, Field(ge=1, description="moves")] = 1000
    rate: Annotated[Number, Field(gt=0, description="length of the first step")] = 1.0
    sigma: Annotated[
        Number, Field(gt=0, description="squared change that counts as half an entry")
    ] = 0.001
    tau: Annotated[Number, Field(ge=0, le=1, description="threshold at the start")] = 0.3
    tau_rate: Annotated[
        Number, Field(ge=0, description="share of the step length by which it moves")
    ] = 0.01

    def start(self, p: Problem) -> State:
        zero = torch.zeros_like(p.x0)
        return State(x=p.x0, mean=zero, square=zero, tau=torch.full_like(p.eps, self.tau))

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, margin)
        d = s.x - p.x0
        count = p.norm.pooled(d.square())
        size = count[0].numel()
        g = 2 * d * self.sigma / (count + self.sigma).square() / size - pick(a.hit, 0.0, a.grad)
        g = g / lift(g.abs().flatten(1).amax(1).clamp(min=1e-12), g)

        mean = BETA1 * s.mean + (1 - BETA1) * g
        square = BETA2 * s.square + (1 - BETA2) * g * g
        rates = cosine(self.rate, self.rate / 10, self.steps, t.device)
        fixed1, fixed2 = (
            _bias(beta, self.steps, t.device)[t].to(d.dtype) for beta in (BETA1, BETA2)
        )
        eta, next_eta = (rates[k].to(d.dtype) for k in ((t - 1).clamp(min=0), t))
        step = mean / ((square / lift(fixed2, d)).sqrt() + TINY) * lift(eta / fixed1, d)
        x = p.ball.into_box(s.x - step)

        tau = (s.tau + self.tau_rate * pick(a.hit, next_eta, -next_eta)).clamp(0, 1)
        kept = p.norm.pooled((x - p.x0).square()).sqrt() >= lift(tau, x)
        return State(x=torch.where(kept, x, p.x0), mean=mean, square=square, tau=tau)

    def point(self, s: State) -> Tensor:
        return s.x


@functools.cache
def _bias(beta: float, steps: int, like: torch.device) -> Tensor:
    """[steps + 1], float64: what the t-th running mean, which began at zero, is short of."""
    return torch.tensor(
        [1 - beta ** (k + 1) for k in range(steps + 1)], dtype=torch.float64, device=like
    )
