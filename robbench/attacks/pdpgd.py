"""PDPGD, primal-dual proximal gradient descent: Matyasko and Chau 2021, arXiv:2106.01538.

It looks for a saddle point of  l0 ||r|| + l1 softplus(z_y - max_{k != y} z_k):

    primal   one step of Adam on the second term, into the box; then up to five proximal steps,
             r <- box(prox(r' - (D / max D) (r' - r)))  of  mu ||.||,  mu = (l0/l1) step / max D,
             where D is Adam's denominator, until r changes by less than 1 %
    dual     v <- v + theta sign(z_y - max_{k != y} z_k),  |v| <= log 10^6,
             (l0, l1) <- 0.9 (l0, l1) + 0.1 softmax(0, v)

step falls geometrically to a hundredth of `rate`, theta from 0.1 to 0.01 along a line. In l0 the
proximal operator is that of sum |r_i|^(2/3), as the authors advise.

Deviations, on purpose. Rows whose r has settled keep it while others go on. The proximal operator
of |r|^(2/3) is zero also where its formula gives a local minimum only. What follows the last move
is queried too. Logits are divided by the row's temperature, as for the cross-entropy.

Option, not in the paper: the last `polish` moves, which need no gradient, bisect the way from x0 to
the nearest adversarial point found (in l0 that gains nothing).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Answer, Attack, Oracle
from robbench.attacks.bisection import Bisection
from robbench.attacks.schedules import BETA1, BETA2, TINY, corrections
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import margin
from robbench.threat.norms import Norm, find_norm
from robbench.threat.problem import Problem

RATIO, FARTHEST = 0.01, math.log(1e6)  # l0/l1 at first; the largest |v|
PROXIMAL_STEPS, SETTLED = 5, 0.01


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    mean: Tensor  # [B,*] Adam's average gradient
    square: Tensor  # [B,*] and average squared one
    v: Tensor  # [B] log(l1/l0) before averaging
    l0: Tensor  # [B] weight of the size
    l1: Tensor  # [B] weight of the margin
    way: Bisection  # to the nearest adversarial point found


@functools.cache
def schedule(steps: int, rate: float, device: torch.device) -> Tensor:
    """[2, steps + 1], float64: step and theta."""
    step = [rate * 0.01 ** (t / steps) for t in range(steps + 1)]
    theta = [0.01 + 0.09 * max(steps - 1 - t, 0) / max(steps - 1, 1) for t in range(steps + 1)]
    return torch.tensor([step, theta], dtype=torch.float64, device=device)


def proximal(norm: Norm, d: Tensor, mu: Tensor) -> Tensor:
    """The r of least |r - d|^2 / 2 + mu size(r), row by row; in l0 size is sum |r_i|^(2/3)."""
    if norm.name == "linf":  # Moreau: what the projection onto the ball of the dual norm leaves
        return d - find_norm("l1").project(d, mu)
    if norm.name == "l1":
        return d.sign() * (d.abs() - lift(mu, d)).clamp(min=0)
    # |r| = u^3 with u^4 - |d| u + 2 mu / 3 = 0, by Ferrari, in units where mu = 1; below the
    # threshold (2/3) 24^(1/4) zero is better. No ** here: torch's pow rounds the last elements of
    # a tensor otherwise.
    root = mu.clamp(min=1e-12).sqrt()
    unit = lift(root * root.sqrt(), d)
    y = d.abs() / unit
    inside = y >= 2 / 3 * 24**0.25
    y = torch.where(inside, y, 2.0)
    first = ((y.square() / 2 + (y.square().square() / 4 - 512 / 729).sqrt()).log() / 3).exp()
    b = first + 8 / 9 / first
    u = (b.sqrt() + (2 * y / b.sqrt() - b).clamp(min=0).sqrt()) / 2
    return torch.where(inside, d.sign() * unit * u * u.square(), torch.zeros_like(d))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PDPGD(Attack[State]):
    """Primal-dual proximal gradient descent (Matyasko and Chau 2021, arXiv:2106.01538)."""

    norms = frozenset({"linf", "l1", "l0"})
    goal = "minimum-norm"
    can_target = True
    steps: Annotated[int, Field(ge=1, description="moves")] = 500
    rate: Annotated[Number, Field(gt=0, description="step of Adam at first")] = 0.1
    polish: Annotated[
        int,
        Field(ge=0, description="how many of the moves bisect the way to the nearest point found"),
    ] = 0

    def start(self, p: Problem) -> State:
        zero, one = torch.zeros_like(p.x0), torch.ones_like(p.eps)
        return State(
            x=p.x0,
            mean=zero,
            square=zero,
            v=one * -math.log(RATIO),
            l0=one * RATIO / (1 + RATIO),
            l1=one / (1 + RATIO),
            way=Bisection.of(p),
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        descent = max(self.steps - self.polish, 1)
        a = q.grad(s.x, margin, need=t < descent)
        way = s.way.after(s.x, a.hit, t > descent, p)
        moved = self._descended(s, a, t.clamp(max=descent), descent, p)
        polishing = (t >= descent) & (self.polish > 0)
        return moved.replace(x=pick(polishing, way.middle(p), moved.x), way=way)

    def _descended(self, s: State, a: Answer, t: Tensor, steps: int, p: Problem) -> State:
        """One primal and one dual step."""
        step, theta = schedule(steps, self.rate, t.device)[:, t].to(s.x.dtype)
        first, second = corrections(steps, t.device)[:, t]
        first, second = first.to(s.x.dtype), second.sqrt().to(s.x.dtype)
        scale = 1.0 if p.temperature is None else p.temperature.to(a.value.dtype)
        value = a.value.nan_to_num(0.0)
        lead = value / scale
        slope = 1 / (1 + lead.clamp(max=80).exp()) / scale  # of softplus(-lead)
        g = -p.movable(a.grad) * lift(slope, s.x)

        mean = BETA1 * s.mean + (1 - BETA1) * g
        square = BETA2 * s.square + (1 - BETA2) * g.square()
        below = square.sqrt() / lift(second, s.x) + TINY
        moved = p.ball.into_box(s.x - lift(step / first, s.x) * mean / below) - p.x0
        largest = p.movable(below).flatten(1).amax(1).clamp(min=TINY)
        r = self._shrunk(moved, below / lift(largest, s.x), s.l0 / s.l1 * step / largest, p)

        v = (s.v - theta * value.sign()).clamp(-FARTHEST, FARTHEST)
        l0, l1 = 1 / (1 + v.exp()), 1 / (1 + (-v).exp())
        return s.replace(
            x=p.ball.into_box(p.x0 + r),
            mean=mean,
            square=square,
            v=v,
            l0=0.9 * s.l0 + 0.1 * l0,
            l1=0.9 * s.l1 + 0.1 * l1,
        )

    @staticmethod
    def _shrunk(moved: Tensor, metric: Tensor, mu: Tensor, p: Problem) -> Tensor:
        """The proximal steps from `moved` [B,*]."""
        r, active = moved, torch.ones_like(mu, dtype=torch.bool)
        length = find_norm("l2").size
        for _ in range(PROXIMAL_STEPS):
            new = proximal(p.norm, r - metric * (r - moved), mu)
            new = p.ball.into_box(p.x0 + new) - p.x0
            change = length(new - r)
            r = pick(active, new, r)
            active = active & (change > SETTLED * length(new))
        return r

    def point(self, s: State) -> Tensor:
        return s.x
