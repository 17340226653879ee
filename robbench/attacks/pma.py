"""PMA: Xie et al. 2025, arXiv:2411.15210, the probability margin attack.

PGD from a random point of the ball, whose second half climbs the probability margin p_o - p_y, o
the likeliest wrong class. Runs come in pairs: the first half of one climbs -p_y, that of the other
p_o. The step falls from 2 eps to 0 by a cosine, in each half anew:

    x <- project(x + eps (1 + cos(pi i / n)) steepest(grad)),   i-th of n moves

Deviations, on purpose. All three are climbed as logarithms, log(1 - p_y), log p_o and log(1 + p_o -
p_y): the steepest directions are the same, but these have a gradient where p_y rounds to 1. The
authors' first move climbs +p_y, away from a mistake, which breaks no more samples on our models;
here there is none, and objective and step change at the same move. Theirs is for Linf; in L2 and L1
the steps are those of `pgd`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.schedules import cosine
from robbench.core.rows import Rows, pick
from robbench.objectives import RowObjective, log_weighted, rivals
from robbench.threat.problem import Problem

DOWN, UP, BOTH = range(3)  # phases: the label down, the best other class up, both at once


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    up: Tensor  # [B] bool: its first half pulls the other class up


class Phase(RowObjective):
    """The probability that a row climbs now."""

    phase: Tensor  # [B] int64

    def __call__(self, logits: Tensor, p: Problem) -> Tensor:
        z = p.tempered(logits)
        gains, loses = rivals(z, p)
        weights = pick(self.phase == UP, gains, 1 - loses + gains * (self.phase == BOTH)[:, None])
        return log_weighted(z, weights)


@functools.cache
def step_lengths(steps: int, schedule: str, device: torch.device) -> Tensor:
    """[steps + 1] of each move, in eps, float64; the last belongs to no move."""
    half = steps // 2
    parts = (steps,) if schedule == "one" else (half, steps - half)
    found = [cosine(2.0, 0.0, n, device)[:n] for n in parts if n]
    return torch.cat([*found, torch.zeros_like(found[0][:1])])


@dataclasses.dataclass(frozen=True, kw_only=True)
class PMA(Attack[State]):
    """Probability margin attack (Xie et al. 2025, arXiv:2411.15210).

    Runs in pairs: one pushes the label down first, the other pulls the best other class up.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})

    steps: Annotated[int, Field(ge=1, description="moves per run, half of them in each phase")] = 50
    restarts: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="pairs of runs per sample, each run from a random start of its own",
        ),
    ] = 1
    schedule: Annotated[
        Literal["two", "one"],
        Field(description="cosine descents of the step: one in each half, or one over both"),
    ] = "two"
    objective = "probability-margin"
    can_target = True
    cuts = frozenset({"restarts"})

    def variants(self, classes: int) -> int:
        return 2 * self.restarts

    def start(self, p: Problem) -> State:
        variant = torch.zeros_like(p.y) if p.variant is None else p.variant
        return State(x=p.ball.uniform(), up=variant % 2 == 1)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        phase = pick(t < self.steps // 2, pick(s.up, UP, DOWN), BOTH)
        a = q.grad(s.x, Phase(phase=phase))
        lengths = step_lengths(self.steps, self.schedule, t.device)[t].to(p.eps.dtype)
        return s.replace(x=p.ball.ascend(s.x, a.grad, lengths * p.eps))

    def point(self, s: State) -> Tensor:
        return s.x
