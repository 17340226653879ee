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

Option, not in the paper: the last `polish` moves search around the point with the fewest changes.
After an adversarial point the entry that gives least to the margin, to first order, is put back;
after any other the best unchanged one takes its place. All go to the face of the box where they
give more there, and an entry put back or taken rests for 5 moves. 200 such moves are worth more
than as many of the others.

Option, not in the paper: shorter runs, each towards one of the likeliest wrong classes, with
z_y - z_k in place of the margin; any mistake is a success. A run stays with the class it began
with, which is often not the one that needs the fewest changes.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Answer, Attack, Oracle, cut_targets
from robbench.attacks.schedules import BETA1, BETA2, TINY, corrections, cosine
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.objectives import margin, target_lead
from robbench.threat.problem import BOX, Problem

REST = 5


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    mean: Tensor  # [B,*] Adam's running mean of the gradients
    square: Tensor  # [B,*] and of their squares
    tau: Tensor  # [B] changes below it are taken back
    top: Tensor  # [B,*] adversarial point with the fewest changes, x0 before there is one
    size: Tensor  # [B] how many, inf before there is one
    rest: Tensor  # [B,*] int64 the move until which polishing leaves an entry alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmaZero(Attack[State]):
    """Fewest changed entries or pixels (Cinà et al. 2025, arXiv:2402.01879)."""

    norms: ClassVar[frozenset[str]] = frozenset({"l0", "l0px"})
    goal = "minimum-norm"
    can_target = True
    steps: Annotated[int, Field(ge=1, description="moves per run")] = 1000
    polish: Annotated[
        int, Field(ge=0, description="how many of the moves swap entries of the best point found")
    ] = 0
    targets: Annotated[
        int,
        Field(
            ge=0, le=10_000, description="runs, one per likely wrong class; 0 = one to whichever"
        ),
    ] = 0
    rate: Annotated[Number, Field(gt=0, description="length of the first step")] = 1.0
    sigma: Annotated[
        Number, Field(gt=0, description="squared change that counts as half an entry")
    ] = 0.001
    tau: Annotated[Number, Field(ge=0, le=1, description="threshold at the start")] = 0.3
    tau_rate: Annotated[
        Number, Field(ge=0, description="share of the step length by which it moves")
    ] = 0.01

    @property
    def cuts(self) -> frozenset[str]:
        return frozenset({"targets"} if self.targets else ())

    def adapted(self, classes: int) -> list[str]:
        return super().adapted(classes) + cut_targets(self.targets, classes)

    def variants(self, classes: int) -> int:
        return max(min(self.targets, classes - 1), 1)

    def vary(self, p: Problem, k: Tensor) -> Problem:
        if p.targeted or not self.targets:
            return p
        wrong = p.likeliest_wrong(self.targets)
        return p.replace(target=wrong.gather(1, k[:, None])[:, 0])

    def start(self, p: Problem) -> State:
        zero, none = torch.zeros_like(p.x0), torch.full_like(p.eps, torch.inf)
        return State(
            x=p.x0,
            mean=zero,
            square=zero,
            tau=torch.full_like(p.eps, self.tau),
            top=p.x0,
            size=none,
            rest=torch.zeros_like(p.norm.pooled(zero), dtype=torch.int64),
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, target_lead if self.targets and not p.targeted else margin)
        descent, changes = max(self.steps - self.polish, 1), p.norm.size(s.x - p.x0)
        s = s.where(a.hit & (changes < s.size), top=s.x, size=changes)
        moved = self._descend(s, t, p, a, descent)
        if not self.polish:
            return moved
        moved = moved.where(t == descent, x=s.top)
        return _swap(s, t, p, a).choose((t > descent) & torch.isfinite(s.size), moved)

    def point(self, s: State) -> Tensor:
        return s.x

    def _descend(self, s: State, t: Tensor, p: Problem, a: Answer, steps: int) -> State:
        """One step of the paper's."""
        d = s.x - p.x0
        count = p.norm.pooled(d.square())
        size = count[0].numel()
        g = 2 * d * self.sigma / (count + self.sigma).square() / size - pick(a.hit, 0.0, a.grad)
        g = g / lift(g.abs().flatten(1).amax(1).clamp(min=1e-12), g)

        mean = BETA1 * s.mean + (1 - BETA1) * g
        square = BETA2 * s.square + (1 - BETA2) * g * g
        rates = cosine(self.rate, self.rate / 10, steps, t.device)
        fixed1, fixed2 = corrections(self.steps, t.device)[:, t].to(d.dtype)
        eta, next_eta = (
            rates[k].to(d.dtype) for k in ((t - 1).clamp(0, steps), t.clamp(max=steps))
        )
        step = mean / ((square / lift(fixed2, d)).sqrt() + TINY) * lift(eta / fixed1, d)
        x = p.ball.into_box(s.x - step)

        tau = (s.tau + self.tau_rate * pick(a.hit, next_eta, -next_eta)).clamp(0, 1)
        kept = p.norm.pooled((x - p.x0).square()).sqrt() >= lift(tau, x)
        return s.replace(x=torch.where(kept, x, p.x0), mean=mean, square=square, tau=tau)


def _swap(s: State, t: Tensor, p: Problem, a: Answer) -> State:
    """One step of polishing: an entry is put back, and another takes its place at a miss."""
    d, g, wide = s.x - p.x0, a.grad, lift(t, s.x)
    face = torch.where(g > 0, BOX[1], torch.where(g < 0, BOX[0], p.x0))
    now, best = p.norm.pooled(g * d), p.norm.pooled(g * (face - p.x0))
    changed = p.norm.pooled(d != 0) > 0
    spare = ~changed & (s.rest <= wide)
    x = torch.where(changed & (best > now), face, s.x)

    least = torch.maximum(now, best).masked_fill(s.rest > wide, torch.finfo(d.dtype).max)
    out = _largest(-least, changed)
    into = _largest(best, spare) & lift(~a.hit, d)
    x = torch.where(into, face, torch.where(out, p.x0, x))
    return s.replace(x=x, rest=torch.where(out | into, wide + REST, s.rest))


def _largest(values: Tensor, among: Tensor) -> Tensor:
    """[B,*] bool: the largest value of each row among some [B,*], if there are any."""
    flat = values.masked_fill(~among, -torch.inf).flatten(1)
    top = torch.zeros_like(flat, dtype=torch.bool).scatter(1, flat.argmax(1, keepdim=True), True)
    return top.reshape(values.shape) & among
