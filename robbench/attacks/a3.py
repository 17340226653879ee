"""A3, adaptive auto attack: Liu et al. 2022, arXiv:2203.05154, with its authors' schedule.

A row goes through rounds, each from a random point of the ball. A round's first moves have length
eps and climb sum_k w_k z_k for random weights w (output diversification). The others climb the
logit margin, with lengths that fall along half a cosine from eps to almost nothing. From the third
round on, w prefers a class: the likely wrong classes take turns, each with a large weight, and the
label gets one that is mostly negative.

Deviations, all on purpose. Three things depend on other samples in the paper, and follow a fixed
rule here, so that a verdict is a sample's own:

- After each round the paper drops a share of the samples, those of largest margin, which keeps its
  cost at about 340 moves per survivor. Here all rows go through the first `rounds` rounds (9 take
  341 moves), or with `keep` those that have come close enough to the boundary, each by itself.
- The signs of the two preferred weights come from the sum of the w that broke samples. Here they
  are those that the authors fix for 100 classes and more.
- Where the w alone break 5 % of the samples, a sign of masked gradients, another schedule follows.
  Here that is the option `schedule`.

Their rounds have a limit of time, and some are repeated; here a repetition is a round like any
other. Classes are ranked at the clean input; theirs are at a corner of the ball, which costs a
forward. The query that moves a point also checks it: they query each twice. `targets` classes take
turns, 4 in late rounds, for any number of classes: 9 and 4 are theirs for 10, of 100 and 1,000 they
have 14 and 20 in all rounds.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle
from robbench.attacks.schedules import cosine
from robbench.core import keyed
from robbench.core.rows import Rows, nowhere, pick
from robbench.core.spec import Number
from robbench.objectives import RowObjective, margin, margins_left
from robbench.threat.problem import Problem

PREFERRED = 0.8  # weight of a preferred wrong class, in tenths of the number of classes
LATE_TARGETS = 4  # classes that take turns in the late rounds


class Plan(NamedTuple):
    """The rounds of a schedule: moves with w and by margin; beyond the last, that again.

    label: range of the label's weight in tenths of the number of classes; late: from which round on
    it is `label_late`.
    """

    moves: tuple[tuple[int, int], ...]
    label: tuple[float, float]
    late: int
    label_late: tuple[float, float]


FIRST = ((0, 8), (7, 15), (7, 15))
PLANS = {
    "standard": Plan(
        (
            *FIRST,
            *((7, n) for n in (32, 37, 37, 42, 47, 52, 57)),
            *[(7, 57)] * 4,
            *[(7, 62)] * 4,
            (7, 67),
        ),
        (-0.5, 0.1),
        10,
        (-0.8, 0.1),
    ),
    "masked": Plan(
        (
            *FIRST,
            *[(10, 15)] * 10,
            (15, 20),
            (15, 25),
            *((10, n) for n in (20, 25, 28, 30)),
            *[(10, 35)] * 5,
            *[(10, 45)] * 5,
            (10, 55),
        ),
        (-0.1, 0.5),
        24,
        (0.0, 0.0),
    ),
}


class Clock(NamedTuple):
    """What a row does at each of its queries: tables [steps + 1]."""

    round: Tensor  # int64
    directed: Tensor  # bool: climbs the weighted logits
    last: Tensor  # bool: the last point of a round, where nothing is climbed
    length: Tensor  # of the move, as a share of eps


@functools.cache
def clock(schedule: str, rounds: int, device: torch.device) -> Clock:
    """The tables of a schedule."""
    rows: list[tuple[int, bool, bool, float]] = []
    moves = PLANS[schedule].moves
    for r in range(rounds):
        directed, n = moves[min(r, len(moves) - 1)]
        low = 0.1 if n <= 10 else 0.001
        rows += [(r, True, False, 1.0)] * directed
        lengths = cosine(1.0, low, n + 1, torch.device("cpu"))[:n]
        rows += [(r, False, False, length) for length in lengths.tolist()]
        rows.append((r, False, True, 0.0))
    round_, directed_, last, length_ = zip(*rows, strict=True)
    return Clock(
        torch.tensor(round_, device=device),
        torch.tensor(directed_, device=device),
        torch.tensor(last, device=device),
        torch.tensor(length_, dtype=torch.float64, device=device),
    )


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    w: Tensor  # [B,K] the round's weights of the logits
    best: Tensor  # [B] the smallest margin seen
    over: Tensor  # [B] bool: it ends here


class Climb(RowObjective):
    """The weighted logits or the margin, as each row's move has it."""

    w: Tensor  # [B,K]
    directed: Tensor  # [B] bool

    def __call__(self, logits: Tensor, p: Problem) -> Tensor:
        return pick(self.directed, (self.w.to(logits.dtype) * logits).sum(1), margin(logits, p))


@dataclasses.dataclass(frozen=True, kw_only=True)
class A3(Attack[State]):
    """Adaptive auto attack (Liu et al. 2022, arXiv:2203.05154): diversified starts, margin steps.

    Not in l1, where a step moves one entry: too few steps for a round.
    """

    can_target = True
    anchored = True
    cuts = frozenset({"rounds"})

    rounds: Annotated[
        int, Field(ge=1, le=10_000, description="random starts, with 8 to 67 moves each")
    ] = 9
    schedule: Annotated[
        Literal["standard", "masked"],
        Field(description="lengths of the rounds; masked: for models with masked gradients"),
    ] = "standard"
    targets: Annotated[
        int, Field(ge=1, le=10_000, description="likely wrong classes that take turns")
    ] = 9
    keep: Annotated[
        Number,
        Field(
            gt=0,
            le=1,
            description="from the third round on, a row ends with a round after which its best "
            "logit margin is above this share of the clean one; 1 = never",
        ),
    ] = 1.0

    objective = "margin"

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Every round also queries its last point."""
        return len(clock(self.schedule, self.rounds, torch.device("cpu")).last) - 1

    def start(self, p: Problem) -> State:
        none = torch.full_like(p.eps, torch.inf)
        x, w = self._fresh(p, torch.zeros_like(p.y))
        return State(x=x, w=w, best=none, over=torch.zeros_like(p.y, dtype=torch.bool))

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        now = Clock(*(table[t] for table in clock(self.schedule, self.rounds, t.device)))
        a = q.grad(s.x, Climb(w=s.w, directed=now.directed), need=~now.last)
        best = torch.minimum(s.best, margins_left(a.logits, p.aim, p.targeted).to(s.best.dtype))
        s = s.replace(
            x=p.ball.ascend(s.x, a.grad, now.length.to(p.eps.dtype) * p.eps),
            best=best,
            over=now.last & (now.round >= 2) & self._far(best, p),
        )
        if not nowhere(now.last):
            x, w = self._fresh(p, now.round + 1)
            s = s.where(now.last, x=x, w=w)
        return s

    def _fresh(self, p: Problem, round_: Tensor) -> tuple[Tensor, Tensor]:
        """The start [B,*] of each row's round [B], and its weights [B,K]."""
        p = p.replace(key=keyed.fold(p.key, round_))
        classes, dtype = p.logits0.shape[1], p.x0.dtype
        plan, unit = PLANS[self.schedule], classes / 10
        w = 2 * keyed.uniform(p.key, (classes,), counter=3, dtype=dtype) - 1
        late = round_ >= plan.late
        wrong = p.likeliest_wrong(self.targets)
        turns = torch.where(late, min(LATE_TARGETS, wrong.shape[1]), wrong.shape[1])
        target = wrong.gather(1, ((round_ - 1) % turns)[:, None])
        if p.targeted:
            target = p.target[:, None]
        low, high = (
            torch.where(late, then, first).to(dtype)
            for first, then in zip(plan.label, plan.label_late, strict=True)
        )
        share = keyed.uniform(p.key, (1,), counter=4, dtype=dtype)[:, 0]
        label = unit * (low + (high - low) * share)
        preferred = w.scatter(1, target, PREFERRED * unit).scatter(1, p.y[:, None], label[:, None])
        return p.ball.uniform(), pick(round_ >= 2, preferred, w)

    def _far(self, best: Tensor, p: Problem) -> Tensor:
        """[B] bool: rows that `keep` gives up."""
        if self.keep == 1:
            return torch.zeros_like(p.y, dtype=torch.bool)
        return best > self.keep * margins_left(p.logits0, p.aim, p.targeted)

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return s.over
