"""APGD: Croce and Hein 2020, arXiv:2003.01690, algorithm 1, with the losses of its section 4.

Momentum steps whose length eta starts at 2 eps and is halved, row by row, at checkpoints w_j where
the run has stalled; the run then goes on from its best point. Checkpoints need no loss history: a
counter of rises and a few remembered values do. In L1 the recurrence is another one, that of
`apgd_l1.py`.

Deviations, all on purpose. From the authors' code: their first checkpoint compares f(x_1) with
index -1 of the history, an empty row; ours with f(x_0). Condition 1 is the paper's `<` (theirs
`<=`), and condition 2 can hold at the first checkpoint. From the paper: a checkpoint is decided on
the point just queried, before the next move, as in their code.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks import apgd_l1
from robbench.attacks.apgd_l1 import SparseState
from robbench.attacks.base import Answer, Attack, Oracle, cut_targets
from robbench.attacks.target_order import Order, nearest, queries, targets
from robbench.core import fused
from robbench.core.rows import Rows, any_at, pick
from robbench.core.spec import Number, require_unset
from robbench.objectives import TARGETED, find_objective
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    x_prev: Tensor  # [B,*] where it stood before
    x_top: Tensor  # [B,*] its best point so far, with gradient and value
    g_top: Tensor  # [B,*]
    f_top: Tensor  # [B]
    f_prev: Tensor  # [B] value at x_prev
    f_then: Tensor  # [B] f_top at the last checkpoint
    eta: Tensor  # [B] step length
    rises: Tensor  # [B] moves that raised the value since the last checkpoint
    halved: Tensor  # [B] bool: eta was halved at the last checkpoint


@functools.cache
def checkpoints(steps: int) -> tuple[int, ...]:
    """w_j = ceil(p_j steps), p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), p_1 = 0.22.

    Computed in hundredths, to be exact.
    """
    before, here, found = 0, 22, []
    while here <= 100:
        found.append(-(-here * steps // 100))
        before, here = here, here + max(here - before - 3, 6)
    return tuple(sorted(set(found)))


@functools.cache
def windows(steps: int, device: torch.device) -> Tensor:
    """[steps + 1]: at a checkpoint the moves since the one before, elsewhere 0."""
    table = torch.zeros(steps + 1, dtype=torch.int64)
    marks = checkpoints(steps)
    for before, here in zip((0, *marks), marks, strict=False):
        table[here] = here - before
    return table.to(device)


@functools.cache
def _special(steps: int) -> frozenset[int]:
    """The steps at which more is done than to move."""
    return frozenset({0, 1, *checkpoints(steps)})


def begin(x: Tensor, p: Problem) -> State:
    """A run from x [B,*]."""
    zero, none = torch.zeros_like(x), torch.full_like(p.eps, -torch.inf)
    return State(
        x=x,
        x_prev=x,
        x_top=x,
        g_top=zero,
        f_top=none,
        f_prev=-none,
        f_then=none,
        eta=2 * p.eps,
        rises=torch.zeros_like(p.y),
        halved=torch.zeros_like(p.y, dtype=torch.bool),
    )


def advance(
    s: State, a: Answer, t: Tensor, p: Problem, steps: int, rho: float = 0.75, alpha: float = 0.75
) -> State:
    """Move number t [B] of a run of so many steps, with the answer at its points."""
    points, numbers = (s.x, a.grad, s.x_prev, s.x_top, s.g_top), [a.value, s.f_prev, s.f_top, s.eta]
    if not any_at(t, _special(steps)) and p.ball.fusable(*points, each=numbers):
        here = s.x, a.grad, a.value, s.x_prev, s.f_prev
        known = s.x_top, s.g_top, s.f_top, s.rises, s.eta
        x, x_top, g_top, f_top, rises = fused.advance(*here, *known, alpha, p.x0, p.eps)
        top = {"x_top": x_top, "g_top": g_top, "f_top": f_top}
        return s.replace(x=x, x_prev=s.x, f_prev=a.value, rises=rises, **top)
    s = s.where(a.value > s.f_top, f_top=a.value, x_top=s.x, g_top=a.grad)
    if any_at(t, {0, 1}):
        s = s.where(t <= 1, f_then=s.f_top)  # f_max starts as max(f(x_0), f(x_1))
    s = s.replace(rises=s.rises + (a.value > s.f_prev))  # never at t = 0: f_prev is +inf there
    x, g = s.x, a.grad
    if any_at(t, set(checkpoints(steps))):
        window = windows(steps, t.device)[t]
        due = window > 0
        few_rises = s.rises < rho * window  # condition 1
        no_better = ~s.halved & (s.f_top <= s.f_then)  # condition 2
        stuck = due & (few_rises | no_better)
        x, g = pick(stuck, s.x_top, x), pick(stuck, s.g_top, g)
        s = s.where(stuck, eta=s.eta / 2).where(
            due, f_then=s.f_top, rises=torch.zeros_like(s.rises), halved=stuck
        )
    share = torch.full_like(s.eta, alpha)
    if any_at(t, {0}):  # at first x = x_prev
        share = share.masked_fill(t == 0, 1.0)
    moved = p.ball.stride(x, g, s.eta, s.x_prev, share, 1 - alpha)
    return s.replace(x=moved, x_prev=x, f_prev=a.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD(Attack[State | SparseState]):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690, algorithm 1): no step size to tune.

    In L1 it is that of Croce and Hein 2021, arXiv:2103.01208.

    With objective=dlr-targeted each of the most likely wrong classes (at the clean input) is tried
    in turn, at most K-1.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2", "l1"})

    steps: Annotated[int, Field(ge=1, description="moves per run")] = 100
    objective: Annotated[
        Literal[
            "cross-entropy",
            "dlr",
            "dlr-targeted",
            "margin",
            "probability-margin",
            "true-logit",
        ],
        Field(description="what the steps climb"),
    ] = "cross-entropy"
    restarts: Annotated[
        int, Field(ge=1, le=10_000, description="random starts per sample (and per target)")
    ] = 1
    targets: Annotated[
        int, Field(ge=1, le=10_000, description="target classes per sample, for dlr-targeted")
    ] = 9
    order: Annotated[
        Order,
        Field(
            description="of the targets, for dlr-targeted: the likeliest first, or those whose "
            "linearised boundaries are nearest to the input (MALT)"
        ),
    ] = "margin"
    rho: Annotated[
        Number,
        Field(gt=0, le=1, description="share of rising moves below which eta is halved; not in l1"),
    ] = 0.75
    alpha: Annotated[
        Number,
        Field(gt=0, le=1, description="weight of the new direction against momentum; not in l1"),
    ] = 0.75
    large_eps: Annotated[
        bool,
        Field(description="in l1 only: first 30% of the steps inside 3 eps, 30% inside 2 eps"),
    ] = True

    can_target = True

    def __post_init__(self) -> None:
        if self.objective not in TARGETED:
            require_unset(self, ("targets", "order"), "attack apgd", "objective=dlr-targeted")

    @property
    def kinds(self) -> frozenset[str]:
        return super().kinds | {"apgd"}

    def adapted(self, classes: int) -> list[str]:
        cut = cut_targets(self.targets, classes) if self.objective in TARGETED else []
        return super().adapted(classes) + cut

    @property
    def cuts(self) -> frozenset[str]:
        once = (
            self.objective in TARGETED and self.restarts == 1
        )  # all targets come before a restart
        return frozenset({"targets" if once else "restarts"})

    def variants(self, classes: int) -> int:
        return self.restarts * (min(self.targets, classes - 1) if self.objective in TARGETED else 1)

    @property
    def _ranks(self) -> bool:
        return self.order == "distance" and self.objective in TARGETED

    def preparation(self, classes: int) -> tuple[int, int]:
        return queries(classes) if self._ranks else (0, 0)

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        return nearest(p, q, self.targets) if self._ranks and not p.targeted else None

    def vary(self, p: Problem, k: Tensor) -> Problem:
        p = super().vary(p, k)
        if p.targeted or self.objective not in TARGETED:
            return p
        wrong = targets(p, self.targets)
        rank = k % wrong.shape[1]  # all targets once, then again from another start
        return p.replace(target=wrong.gather(1, rank[:, None])[:, 0])

    def start(self, p: Problem) -> State | SparseState:
        if p.norm.name == "l1":
            return apgd_l1.start(p, self.steps, self.large_eps)
        return begin(p.ball.on_sphere(), p)

    def step(self, s: State | SparseState, t: Tensor, p: Problem, q: Oracle) -> State | SparseState:
        objective = find_objective(self.objective)
        if isinstance(s, SparseState):
            return apgd_l1.step(s, t, p, q, objective, self.steps, self.large_eps)
        return advance(s, q.grad(s.x, objective), t, p, self.steps, self.rho, self.alpha)

    def point(self, s: State | SparseState) -> Tensor:
        return s.x
