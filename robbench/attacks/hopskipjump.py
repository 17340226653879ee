"""HopSkipJump: Chen, Jordan and Wainwright 2020, arXiv:1904.02144, algorithms 1 and 2. Labels only.

With phi = +1 for a misclassified point and -1 else, from a misclassified x~ and for t = 1, 2, ...

    search    x   <- the point nearest to x0 on the way from x~ that is misclassified,
                    by bisection to a share theta
    estimate  v   <- sum_b (phi_b - mean phi) u_b over B_t = B_0 sqrt(t) points x + delta u_b,
                    |u_b|_2 = 1      (eq. 12, 15)
    stride    x~  <- x + xi v/|v|_2 (in linf: x + xi sign v), xi = size(x - x0) / sqrt(t),
                    halved until misclassified

theta = d^(-3/2) in l2, d^-2 in linf; delta = size(x~ - x0) / d, 0.1 at t = 1. One query per step:
each row is a machine that knows its phase. Two running sums are enough for v, and u_b is what the
box has left of it.

Deviations. The authors first search along the segment to the noise for the nearest misclassified
point, to 0.001; here, as in the paper, search does it. Only the first trial of a start is uniform
noise; the next ones have a random contrast and brightness as well, because a model may have one
class for all noise, and that class' samples no start. The bisection stops where the floating-point
numbers end.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.core import keyed
from robbench.core.rows import Rows, lift, pick
from robbench.core.spec import Number
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

TRIAL, SEARCH, ESTIMATE, STRIDE, OVER = range(5)


class State(Rows):
    """What a row remembers."""

    phase: Tensor  # [B] int64
    x: Tensor  # [B,*] the row's point
    far: Tensor  # [B,*] x~, misclassified
    reach: Tensor  # [B] its size
    low: Tensor  # [B] the bisection's ends, as shares of the way from x0 to x~
    high: Tensor  # [B]
    edge: Tensor  # [B,*] the point near the boundary, misclassified
    turn: Tensor  # [B] int64 the paper's t
    count: Tensor  # [B] int64 queries of this phase (trials, estimates)
    votes: Tensor  # [B] sum of phi_b
    sum_u: Tensor  # [B,*] sum of u_b, times delta
    sum_phi_u: Tensor  # [B,*] sum of phi_b u_b, times delta
    way: Tensor  # [B,*] direction of the stride
    xi: Tensor  # [B] its length


@dataclasses.dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack[State]):
    """Smallest perturbation from predicted labels alone (Chen et al. 2020, arXiv:1904.02144)."""

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2"})
    goal: ClassVar[Literal["fixed-eps", "minimum-norm"]] = "minimum-norm"
    access: ClassVar[Literal["white-box", "score-based", "decision-based", "none"]] = (
        "decision-based"
    )

    steps: Annotated[int, Field(ge=1, description="queries per sample, less one")] = 5000
    trials: Annotated[int, Field(ge=1, description="random images tried as a start")] = 100
    evals: Annotated[
        int,
        Field(
            ge=1, le=1_000_000, description="B_0: queries of the first estimate of the direction"
        ),
    ] = 100
    max_evals: Annotated[
        int, Field(ge=1, le=1_000_000, description="queries of an estimate at most")
    ] = 10_000
    gamma: Annotated[Number, Field(gt=0, description="factor of theta and delta")] = 1.0

    def start(self, p: Problem) -> State:
        zero, count, still = torch.zeros_like(p.eps), torch.zeros_like(p.y), torch.zeros_like(p.x0)
        noise = keyed.uniform(keyed.fold(p.key, -1), p.x0.shape[1:], dtype=p.x0.dtype)
        x = p.ball.into_box(noise)
        return State(
            phase=count + TRIAL,
            count=count,
            turn=count,
            x=x,
            far=x,
            reach=zero,
            low=zero,
            high=zero,
            edge=x,
            votes=zero,
            sum_u=still,
            sum_phi_u=still,
            way=still,
            xi=zero,
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        _, hit = q.logits(s.x)
        trial, search, estimate, stride = (
            s.phase == phase for phase in (TRIAL, SEARCH, ESTIMATE, STRIDE)
        )
        s = s.replace(count=s.count + 1, xi=pick(stride & ~hit, s.xi / 2, s.xi))
        s = s.replace(phase=pick(trial & ~hit & (s.count >= self.trials), OVER, s.phase))
        s = self._far(s, hit & (trial | stride), p)
        s = self._halve(s, hit, search, p)
        s = self._vote(s, hit, estimate, p)

        key = keyed.fold(p.key, t)
        x = pick(s.phase == TRIAL, self._noise(key, s.x), s.x)
        x = pick(s.phase == SEARCH, self._between(s, (s.low + s.high) / 2, p), x)
        x = pick(s.phase == ESTIMATE, s.edge + lift(self._delta(s), x) * self._unit(key, s.x, p), x)
        x = pick(s.phase == STRIDE, s.edge + lift(s.xi, x) * s.way, x)
        return s.replace(x=p.ball.into_box(x))

    def _far(self, s: State, mask: Tensor, p: Problem) -> State:
        """A misclassified point is the x~ of a new turn, which begins with a search."""
        s = s.where(mask, far=s.x, reach=p.norm.size(s.x - p.x0), turn=s.turn + 1)
        return s.replace(
            phase=pick(mask, SEARCH, s.phase),
            low=pick(mask, 0.0, s.low),
            high=pick(mask, 1.0, s.high),
        )

    def _halve(self, s: State, hit: Tensor, mask: Tensor, p: Problem) -> State:
        """The search goes on in one half; at its end the estimate begins."""
        share = (s.low + s.high) / 2
        s = s.where(mask, low=pick(hit, s.low, share), high=pick(hit, share, s.high))
        share = (s.low + s.high) / 2
        theta = self.gamma * s.x.shape[1:].numel() ** (-1.5 if p.norm.name == "l2" else -2.0)
        end = mask & ((s.high - s.low <= theta) | (share <= s.low) | (share >= s.high))
        s = s.where(end, edge=self._between(s, s.high, p))
        return s.replace(
            phase=pick(end, ESTIMATE, s.phase),
            count=pick(end, 0, s.count),
            votes=pick(end, 0.0, s.votes),
            sum_u=pick(end, 0.0, s.sum_u),
            sum_phi_u=pick(end, 0.0, s.sum_phi_u),
        )

    def _vote(self, s: State, hit: Tensor, mask: Tensor, p: Problem) -> State:
        """One more phi_b u_b; after the last the stride begins."""
        phi, u = 2 * hit.to(s.x.dtype) - 1, s.x - s.edge
        s = s.where(
            mask, votes=s.votes + phi, sum_u=s.sum_u + u, sum_phi_u=s.sum_phi_u + lift(phi, u) * u
        )
        root = s.turn.to(s.x.dtype).sqrt()
        end = mask & (s.count >= (self.evals * root).floor().clamp(max=self.max_evals))
        # No baseline where all agree.
        mean = pick(s.votes.abs() == s.count, 0.0, s.votes / s.count.clamp(min=1))
        way = p.norm.steepest(s.sum_phi_u - lift(mean, u) * s.sum_u)
        s = s.where(end, way=way, xi=p.norm.size(s.edge - p.x0) / root.clamp(min=1))
        return s.replace(phase=pick(end, STRIDE, s.phase))

    @staticmethod
    def _noise(key: Tensor, like: Tensor) -> Tensor:
        """A uniform image between a random darkest and a random brightest value."""
        ends = keyed.uniform(key, (2,), counter=1, dtype=like.dtype)
        noise = keyed.uniform(key, like.shape[1:], dtype=like.dtype)
        return lift(ends[:, 0], like) + lift(ends[:, 1] - ends[:, 0], like) * noise

    @staticmethod
    def _unit(key: Tensor, like: Tensor, p: Problem) -> Tensor:
        """u_b: of Euclidean length 1, from a Gaussian or, in linf, a cube."""
        draw = keyed.normal if p.norm.name == "l2" else keyed.uniform
        u = draw(key, like.shape[1:], dtype=like.dtype)
        return NORMS["l2"].steepest(u if p.norm.name == "l2" else 2 * u - 1)

    @staticmethod
    def _between(s: State, share: Tensor, p: Problem) -> Tensor:
        """The point at a share [B] of the way to x~.

        On the segment; in linf as near to x~ as a cube of that size allows.
        """
        d = s.far - p.x0
        return p.x0 + (
            lift(share, d) * d if p.norm.name == "l2" else p.norm.project(d, share * s.reach)
        )

    def _delta(self, s: State) -> Tensor:
        """[B]: the radius that estimates are made with."""
        return pick(s.turn == 1, 0.1, self.gamma * s.reach / s.x.shape[1:].numel())

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return s.phase == OVER
