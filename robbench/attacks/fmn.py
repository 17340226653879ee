"""FMN, fast minimum norm: Pintor et al. 2021, arXiv:2102.12827, algorithm 1.

With the logit margin L = max_{k != y} z_k - z_y (an adversarial point has L > 0) and its gradient
g, the budget eps becomes

    ||delta|| + |L| / ||g||_dual     before the first adversarial point: first-order distance
                                     to the boundary
    eps (1 + gamma_t)                     at other points that are not adversarial
    min(eps (1 - gamma_t), ||delta*||)    at adversarial ones; delta* is the smallest found

and then delta <- clip(project(delta + alpha_t g / ||g||_2, eps)); alpha_t and gamma_t fall along a
cosine.

In l0 and l0px eps counts entries or pixels: it moves by at least 1 and is rounded down, also before
the first adversarial point.

Deviations, on purpose. Before the first adversarial point eps also grows by at least 1 + gamma_t:
where the box stops many entries, as with black backgrounds, the first-order distance falls short
each time, and rows would creep up to the boundary without end. In l1, l0 and l0px the projection is
onto ball and box at once. As in the authors' code, eps never exceeds the size of the box's farthest
corner. Not as in two other tools: what is inside the l2 ball stays where it is, what is outside is
scaled.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.schedules import cosine
from robbench.core.rows import Rows, lift
from robbench.core.spec import Number
from robbench.objectives import margin
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    eps: Tensor  # [B] its own budget
    best: Tensor  # [B] size of the smallest adversarial perturbation, inf before there is one


@dataclasses.dataclass(frozen=True, kw_only=True)
class FMN(Attack[State]):
    """Fast minimum-norm attack in any norm (Pintor et al. 2021, arXiv:2102.12827)."""

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1", "l0", "l0px"})
    goal = "minimum-norm"
    can_target = True
    steps: Annotated[int, Field(ge=1, description="moves")] = 100
    alpha_init: Annotated[
        Number, Field(gt=0, description="length of the first gradient step, in l2")
    ] = 1.0
    alpha_final: Annotated[Number, Field(gt=0, description="length of the last one")] = 0.01
    gamma_init: Annotated[
        Number, Field(gt=0, lt=1, description="share by which the budget shrinks or grows at first")
    ] = 0.05
    gamma_final: Annotated[Number, Field(gt=0, lt=1, description="and at the end")] = 0.001

    def start(self, p: Problem) -> State:
        none = torch.full_like(p.eps, torch.inf)
        return State(x=p.x0, eps=torch.zeros_like(p.eps), best=none)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, margin)
        alpha = cosine(self.alpha_init, self.alpha_final, self.steps, t.device)[t].to(s.x.dtype)
        gamma = cosine(self.gamma_init, self.gamma_final, self.steps, t.device)[t].to(s.x.dtype)
        size = p.norm.size(s.x - p.x0)
        best = torch.where(a.hit, torch.minimum(size, s.best), s.best)
        less, more = s.eps * (1 - gamma), s.eps * (1 + gamma)
        if p.norm.counts:
            less, more = (
                torch.minimum(less.floor(), s.eps - 1).clamp(min=0),
                torch.maximum(more.floor(), s.eps + 1),
            )
        else:
            slope = p.norm.dual(a.grad).clamp(min=torch.finfo(size.dtype).tiny)
            away = (a.value.abs() / slope).nan_to_num(0.0)
            more = torch.where(torch.isinf(best), torch.maximum(size + away, more), more)
        eps = torch.where(a.hit, torch.minimum(less, best), more)
        eps = torch.minimum(eps, p.norm.size(torch.maximum(p.x0, 1 - p.x0)))
        x = s.x + lift(alpha, s.x) * find_norm("l2").steepest(a.grad)
        return State(x=p.replace(eps=eps).ball.project(x), eps=eps, best=best)

    def point(self, s: State) -> Tensor:
        return s.x
