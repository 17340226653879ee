"""FAB: Croce and Hein 2020, arXiv:1907.02044, algorithm 1: the nearest adversarial point.

Each iteration linearises the decision boundary at x, projects x and the clean x0 onto it inside the
box (by d1 and d2), and goes beyond it, with a pull towards x0:

    alpha = min(|d1| / (|d1| + |d2|), alpha_max),
    x <- clip((1 - alpha) (x + eta d1) + alpha (x0 + eta d2))

A point that is misclassified is booked, and x <- x0 + beta (x - x0). Untargeted, the boundary is
that of the class with the smallest |z_k - z_y| / |grad(z_k - z_y)|_dual; targeted, that of one
class.

A query per step. A new point is asked for its gradient at once: where it is not adversarial, that
is the gradient of the next move. Where it is, the row steps back and asks again; if it is
adversarial there too, that is found (the authors' code does not look). A row that has crossed the
boundary is likely to cross it again, so from then on it only looks at a new point first. So a row
that never succeeds costs iterations + 1 forwards where theirs takes twice as many, and no row needs
more than that.

Deviations, on purpose. As in the authors' code, there is no final search on the segment to x0, and
restarts begin eps/2 away from x0, in a random direction, whatever was found before (the paper: half
the smallest size found, if that is less); without a budget eps is taken as 0.05 times the size of
the all-ones image. A zero gradient leaves x where it is (their code drifts to x0). Untargeted, the
classes are the likeliest at x0 (theirs: all). With a budget a row is done at the first point
inside. Under a targeted threat model the boundary is that between the target and the largest other
class at x: theirs, between target and label, may leave the point in a third class.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks.base import Attack, Oracle, cut_targets
from robbench.attacks.hyperplane import to_hyperplane
from robbench.attacks.target_order import Order, boundaries, nearest, queries, targets
from robbench.core.rows import Rows, lift, made_where, pick
from robbench.core.spec import Number, require_unset
from robbench.objectives import margin, target_lead
from robbench.threat.problem import Problem


class State(Rows):
    """What a row remembers."""

    x: Tensor  # [B,*] the row's point
    moves: Tensor  # [B] int64: iterations made
    fresh: Tensor  # [B] bool: x is a new point that was not asked about yet
    crossed: Tensor  # [B] bool: a move has crossed the boundary


@dataclasses.dataclass(frozen=True, kw_only=True)
class FAB(Attack[State]):
    """Smallest perturbation by fast adaptive boundary steps (Croce and Hein, arXiv:1907.02044).

    targeted=true tries each of the most likely wrong classes (at the clean input) in turn, at most
    K-1: one gradient an iteration instead of one a class.
    """

    iterations: Annotated[
        int, Field(ge=1, description="moves per run (each costs one or two queries)")
    ] = 100
    targeted: Annotated[
        bool, Field(description="one class at a time, instead of the nearest of all")
    ] = False
    targets: Annotated[
        int, Field(ge=1, le=10_000, description="targeted: target classes per sample")
    ] = 9
    order: Annotated[
        Order, Field(description="targeted: the likeliest classes first, or the nearest (MALT)")
    ] = "margin"
    candidates: Annotated[
        int, Field(ge=1, description="untargeted: wrong classes whose boundaries are looked at")
    ] = 9
    restarts: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="starts per sample (and per target): the input, then random ones",
        ),
    ] = 1
    alpha_max: Annotated[
        Number, Field(ge=0, le=1, description="largest pull towards the input")
    ] = 0.1
    eta: Annotated[
        Number,
        Field(
            ge=1, description="how far beyond the boundary a move aims, as a multiple of the way"
        ),
    ] = 1.05
    beta: Annotated[
        Number,
        Field(gt=0, lt=1, description="share of the perturbation kept after an adversarial point"),
    ] = 0.9
    norms = frozenset({"linf", "l2", "l1"})
    goal = "minimum-norm"
    can_target = True

    def __post_init__(self) -> None:
        if self.targeted:
            require_unset(self, ("candidates",), "attack fab", "targeted=false")
        else:
            require_unset(self, ("targets", "order"), "attack fab", "targeted=true")

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Two queries an iteration at most, the last of them a look."""
        return 2 * self.iterations - 1

    @property
    def cuts(self) -> frozenset[str]:
        once = self.targeted and self.restarts == 1  # all targets come before a restart
        return frozenset({"targets" if once else "restarts"})

    def gradients(self, classes: int) -> int:
        one = self.targeted or classes == 2
        return 1 if one else 1 + min(self.candidates, classes - 1)

    def adapted(self, classes: int) -> list[str]:
        return cut_targets(self.targets, classes) if self.targeted else []

    def _targets(self, classes: int) -> int:
        return min(self.targets, classes - 1) if self.targeted else 1

    def variants(self, classes: int) -> int:
        return self.restarts * self._targets(classes)

    @property
    def _ranks(self) -> bool:
        return self.order == "distance" and self.targeted

    def preparation(self, classes: int) -> tuple[int, int]:
        return queries(classes) if self._ranks else (0, 0)

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        return nearest(p, q, self.targets) if self._ranks and not p.targeted else None

    def vary(self, p: Problem, k: Tensor) -> Problem:
        count = 1 if p.targeted else self._targets(p.logits0.shape[1])
        again = k // count  # all targets once, then again from another start
        # Key 0 says: from the input.
        p = p.replace(key=pick(again > 0, super().vary(p, k).key, torch.zeros_like(p.key)))
        if p.targeted or not self.targeted:
            return p
        return p.replace(target=targets(p, count).gather(1, (k % count)[:, None])[:, 0])

    def start(self, p: Problem) -> State:
        x, no = p.x0, torch.zeros_like(p.y, dtype=torch.bool)
        if self.restarts > 1:
            budget = pick(torch.isinf(p.eps), 0.05 * p.norm.size(torch.ones_like(x)), p.eps)
            away = lift(budget / 2, x) * p.norm.on_sphere(p.key, x.shape[1:], x.dtype, p.free)
            x = pick(p.key == 0, x, p.ball.into_box(x + away))
        return State(x=x, moves=torch.zeros_like(p.y), fresh=no, crossed=no)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        last = s.moves == self.iterations
        look = last | (s.fresh & s.crossed)
        gap, gradient, hit = self._boundary(s.x, p, q, ~look)
        back = s.fresh & hit & ~last
        move = ~(look | back)
        x = made_where(
            back,
            lambda rows: p.x0[rows] + self.beta * (s.x[rows] - p.x0[rows]),
            otherwise=s.x,
        )
        x = made_where(
            move,
            lambda rows: self.moved(s.x[rows], gap[rows], gradient[rows], p.take(rows)),
            otherwise=x,
        )
        return State(x=x, moves=s.moves + move, fresh=move, crossed=s.crossed | (s.fresh & hit))

    def point(self, s: State) -> Tensor:
        return s.x

    def done(self, s: State) -> Tensor:
        return (s.moves == self.iterations) & ~s.fresh

    def _one_class(self, p: Problem) -> bool:
        return self.targeted or p.targeted or p.logits0.shape[1] == 2

    def _boundary(
        self, x: Tensor, p: Problem, q: Oracle, need: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B] z_y - z_k for the class k to reach, the gradient of z_k - z_y [B,*], and hit.

        Under a targeted threat model z_y is the largest logit but the target's.
        """
        if self._one_class(p):
            chosen = self.targeted and not p.targeted
            a = q.grad(x, target_lead if chosen else margin, need)
            return -a.value, a.grad, a.hit
        found = boundaries(x, p.likeliest_wrong(self.candidates), p, q, need)
        near = found.distance.argmin(1)
        rows = torch.arange(len(x), device=x.device)
        return found.gap[rows, near], found.normal[rows, near], found.hit

    def moved(self, x: Tensor, gap: Tensor, gradient: Tensor, p: Problem) -> Tensor:
        """One iteration of algorithm 1, from x and the boundary <gradient, d> = gap around it."""
        points, w = torch.stack([x, p.x0]).flatten(2), gradient.flatten(1)
        gaps = torch.stack([gap, gap + (w * (points[0] - points[1])).sum(1)])
        d1, d2 = to_hyperplane(points, w, gaps, p.norm.name).reshape(2, *x.shape)
        near, far = p.norm.size(d1), p.norm.size(d2)
        alpha = lift(
            (near / (near + far).clamp(min=torch.finfo(x.dtype).tiny)).clamp(max=self.alpha_max), x
        )
        return p.ball.into_box((1 - alpha) * (x + self.eta * d1) + alpha * (p.x0 + self.eta * d2))
