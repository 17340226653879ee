"""TSTA: Yamamura et al. 2024, "efficient diversified attack", its targeted part.

Each target t is probed from the clean input by a few steepest steps up z_t - z_y,

    x <- project(x + eps (1 + cos(pi i / (n + 1))) steepest(grad)),   i-th of n moves

and the target whose probe came highest gets one run of APGD, from the best point of all probes. So
a survivor costs targets * (probe + 1) + iterations + 1 forwards, where apgd-t makes a run for each
target.

In linf and l2: in l1 APGD is another recurrence (`apgd_l1.py`), which starts from sparse points.

Deviations, on purpose. Any mistake ends a row, also in a class that is not the target. Under a
targeted threat model there is one target to probe, and z_t - max_{k != t} z_k is climbed.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks import apgd
from robbench.attacks.base import MARGIN, Attack, Oracle, cut_targets
from robbench.attacks.schedules import cosine
from robbench.attacks.target_order import Order, nearest, queries, targets
from robbench.core.rows import Rows, pick
from robbench.objectives import RowObjective, margin, target_lead
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    run: apgd.State  # of the probes only the point, and the best point and value so far
    best: Tensor  # [B] int64: the target of the best point
    over: Tensor  # [B] bool: the run has made its last query


class Lead(RowObjective):
    """z_t - z_y of each row's own target."""

    target: Tensor  # [B] int64

    def __call__(self, logits: Tensor, p: Problem) -> Tensor:
        return (
            margin(logits, p) if p.targeted else target_lead(logits, p.replace(target=self.target))
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TSTA(Attack[State]):
    """Probes every target briefly, then one APGD run at the best (Yamamura et al. 2024)."""

    iterations: Annotated[int, Field(ge=1, description="moves of the run at the best target")] = 100
    probe: Annotated[int, Field(ge=1, description="moves at each target before")] = 10
    targets: Annotated[
        int, Field(ge=1, le=10_000, description="target classes that are probed")
    ] = 9
    order: Annotated[
        Order, Field(description="the likeliest classes are probed, or the nearest (MALT)")
    ] = "margin"
    can_target = True
    anchored = True

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Every probe ends with a query of its last point."""
        return self.targets * (self.probe + 1) + self.iterations

    @property
    def kinds(self) -> frozenset[str]:
        return super().kinds | {MARGIN}

    def adapted(self, classes: int) -> list[str]:
        return cut_targets(self.targets, classes)

    def preparation(self, classes: int) -> tuple[int, int]:
        return queries(classes) if self.order == "distance" else (0, 0)

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        ranks = self.order == "distance" and not p.targeted
        return nearest(p, q, self.targets) if ranks else None

    def start(self, p: Problem) -> State:
        over = torch.zeros_like(p.y, dtype=torch.bool)
        return State(run=apgd.begin(p.x0, p), best=torch.zeros_like(p.y), over=over)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        goals = p.target[:, None] if p.targeted else targets(p, self.targets)
        cycle = self.probe + 1
        turn, i = t // cycle, t % cycle
        clock = t - goals.shape[1] * cycle  # of the run, negative before
        probing = clock < 0
        turn = turn.clamp(max=goals.shape[1] - 1)[:, None]
        target = pick(probing, goals.gather(1, turn)[:, 0], s.best)

        need = pick(probing, i < self.probe, clock < self.iterations)
        a = q.grad(s.run.x, Lead(target=target), need)
        ran = apgd.advance(s.run, a, clock.clamp(min=0, max=self.iterations), p, self.iterations)

        better = a.value > s.run.f_top
        best = s.run.where(better, x_top=s.run.x, f_top=a.value)
        lengths = cosine(2.0, 0.0, cycle, t.device)[i].to(p.eps.dtype)
        moved = p.ball.ascend(best.x, a.grad, lengths * p.eps)
        probed = best.replace(x=pick(i == self.probe, p.x0, moved))
        probed = apgd.begin(best.x_top, p).choose(clock == -1, probed)
        return State(
            run=probed.choose(probing, ran),
            best=pick(probing & better, target, s.best),
            over=clock >= self.iterations,
        )

    def point(self, s: State) -> Tensor:
        return s.run.x

    def done(self, s: State) -> Tensor:
        return s.over
