"""Square: Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049.

Algorithms 1 to 3; L1 as in AutoAttack.

Random search that asks for logits only. A candidate differs from the best point so far in a window:
in Linf the window is set to +-eps, per channel; in L2 and L1 two opposite pyramids are added to it,
and it also gets the mass of a second window, which becomes empty, and what the budget has left. It
becomes the best point if its margin is lower, or if it is misclassified.

Schedule. A window's area is p_init of the image, halved after move 10, 50, 200, 500, 1000, 2000,
4000, 6000 and 8000. The paper means 10,000 moves and stretches the schedule for others
(rescale=true); AutoAttack, and so RobustBench, does not.

Deviations, on purpose. AutoAttack shares window, signs in the window, and orientation over the
batch; here they are each row's own, as in the paper's algorithm. It never draws the last place a
window can have, nor covers all of an image in the L2 start (and fails there for sides such as 24 or
below 5); here both are whole. For images that are not square see square_windows.py. L1's point is
projected to eps, not to 0.999999 eps.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.attacks import square_windows as windows
from robbench.attacks.base import Attack, Oracle
from robbench.core import fused, keyed
from robbench.core.rows import Rows
from robbench.core.spec import Number
from robbench.threat.problem import Problem

POWER = {"linf": 0, "l2": 2, "l1": 1}
TINY = 1e-12  # a window with less in it counts as empty


class State(Rows):
    """The candidate to ask about, and the best point before it."""

    x: Tensor  # [B,*]
    x_best: Tensor  # [B,*]
    margin: Tensor  # [B] margin at x_best
    draws: keyed.Block  # what is drawn for the next moves, see `_drawn`
    faces: Tensor  # [B,2D] in Linf, what a window may be set to: x0 - eps, x0 + eps; else [B,0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square(Attack[State]):
    """Random squares, without gradients (Andriushchenko et al. 2020, arXiv:1912.00049)."""

    steps: Annotated[int, Field(ge=1, description="squares tried per run")] = 5000
    p_init: Annotated[
        Number, Field(gt=0, le=1, description="share of the image that the first squares cover")
    ] = 0.8
    restarts: Annotated[int, Field(ge=1, le=10_000, description="random starts per sample")] = 1
    rescale: Annotated[
        bool,
        Field(description="stretch the schedule of sizes, made for 10,000 steps, to `steps`"),
    ] = False

    norms: ClassVar[frozenset[str]] = frozenset(POWER)
    can_target = True
    access: ClassVar[Literal["white-box", "score-based", "decision-based", "none"]] = "score-based"

    @property
    def cuts(self) -> frozenset[str]:
        return frozenset({"restarts"} if self.rescale else {"restarts", "steps"})

    def start(self, p: Problem) -> State:
        channels, height, width = windows.image_shape(p.x0.shape[1:])
        if (power := POWER[p.norm.name]) == 0:
            u = keyed.uniform(p.key, (channels, 1, width), dtype=p.x0.dtype)
            d = _signs(u).expand(-1, channels, height, width)  # vertical stripes
        else:
            u = keyed.uniform(
                p.key, (1 + channels, *windows.grid(height, width)[1]), dtype=p.x0.dtype
            )
            d = windows.tiled(u[:, :1] < 0.5, _signs(u[:, 1:]), height, width, power)
        x = _moved(d, p)
        faces = x.new_empty(len(x), 0)
        if power == 0:
            ones = torch.ones_like(d)
            faces = torch.cat([_moved(-ones, p).flatten(1), _moved(ones, p).flatten(1)], 1)
        return State(
            x=x,
            x_best=x,
            margin=torch.full_like(p.eps, torch.inf),
            draws=keyed.Block.blank(p.key, channels + 5, x.dtype)
            if power
            else keyed.Block.blank(p.key, 1 + 2 * channels, torch.int64),
            faces=faces,
        )

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        margin, hit = q.margins(s.x, p)
        points = fused.fusable(s.faces) and fused.fusable(s.x, s.x_best, each=[margin, s.margin])
        if points and p.key.dtype is torch.int64:
            return self._moved_on(s, margin, hit, t, p)
        s = s.where((margin < s.margin) | hit, x_best=s.x, margin=margin)
        if p.norm.name == "linf":
            drawn, draws = s.draws.at(t, p.key, lambda key, t: self._squares(key, t, p))
            return s.replace(x=self._square(s, drawn, p), draws=draws)
        drawn, draws = s.draws.at(t, p.key, lambda key, t: self._numbers(key, t, p))
        return s.replace(x=self._pyramids(s.x_best, drawn, t, p), draws=draws)

    def point(self, s: State) -> Tensor:
        return s.x_best

    def _moved_on(self, s: State, margin: Tensor, hit: Tensor, t: Tensor, p: Problem) -> State:
        """What `step` does in linf after its question, in one loop."""
        plan, (_, *frame) = self._plan(p), windows.image_shape(p.x0.shape[1:])
        sizes, seen = plan[:3], (s.x, margin, hit, s.x_best, s.margin, s.faces)
        x, best, lowest = fused.squares(*seen, p.key, t, self._moves(t), sizes, frame)
        return s.replace(x=x, x_best=best, margin=lowest)

    def _plan(self, p: Problem) -> windows.Plan:
        _, height, width = windows.image_shape(p.x0.shape[1:])
        power = POWER[p.norm.name]
        return windows.plan(height, width, self.p_init, power, p.x0.dtype, p.x0.device)

    def _level(self, t: Tensor, plan: windows.Plan) -> Tensor:
        return (self._moves(t)[:, None] > plan.marks).sum(1)

    def _moves(self, t: Tensor) -> Tensor:
        """[B] by which the windows shrink."""
        return t * windows.MOVES // self.steps if self.rescale else t

    def _numbers(self, key: Tensor, t: Tensor, p: Problem) -> Tensor:
        """[R,C+5] random numbers of rows with keys [R] at their steps t [R]."""
        channels, _, _ = windows.image_shape(p.x0.shape[1:])
        return keyed.uniform(keyed.fold(key, t + 1), (channels + 5,), dtype=p.x0.dtype)

    def _squares(self, key: Tensor, t: Tensor, p: Problem) -> Tensor:
        """[R,1+2C] int64: level of the window, first entry of each channel in x and in `faces`."""
        channels, height, width = windows.image_shape(p.x0.shape[1:])
        u, plan = self._numbers(key, t, p), self._plan(p)
        level = self._level(t, plan)
        i, j = (
            windows.corner(u[:, channels + axis], size[level], whole)
            for axis, (size, whole) in enumerate(((plan.height, height), (plan.width, width)))
        )
        pixels = height * width
        first = i * width + j + torch.arange(0, channels * pixels, pixels, device=t.device)
        upper = (u[:, :channels] >= 0.5) * (channels * pixels)
        return torch.cat([level[:, None], first, first + upper], 1)

    def _square(self, s: State, drawn: Tensor, p: Problem) -> Tensor:
        """Each channel of a window set to one of both faces.

        Adding +-2 eps to the window and clipping, as the paper has it, is this.
        """
        plan = self._plan(p)
        offsets = windows.offsets(plan, drawn[:, 0])
        places = drawn[:, 1:, None] + offsets  # first those in x, then those in the faces
        entries, sources = places.reshape(len(drawn), 2, -1).unbind(1)
        new = s.faces.gather(1, sources)
        return s.x_best.flatten(1).scatter(1, entries, new).reshape(s.x.shape)

    def _pyramids(self, x: Tensor, u: Tensor, t: Tensor, p: Problem) -> Tensor:
        channels, height, width = windows.image_shape(x.shape[1:])
        power, plan = POWER[p.norm.name], self._plan(p)
        level = self._level(t, plan)
        size = plan.height[level], plan.width[level]
        signs = _signs(u[:, :channels])[:, :, None, None]
        first = windows.place(u[:, channels : channels + 2], size, height, width)
        second = windows.place(u[:, channels + 2 : channels + 4], size, height, width)
        eta = windows.pattern(plan.eta, level, (u[:, -1] < 0.5).long(), first)
        d = (x - p.x0).reshape(-1, channels, height, width)
        inside = torch.where(first.mask, d, 0.0)
        new = eta * signs + inside / _size(inside, power).clamp(min=TINY)
        mass = _size(torch.where(first.mask | second.mask, d, 0.0), power)
        left = (p.eps**power - p.norm.size(x - p.x0) ** power).clamp(min=0)[:, None, None, None]
        mass = (left / channels + mass**power) ** (1 / power)
        if power == 1:
            mass = mass * channels  # AutoAttack's: more than there is, and the projection cuts it
        new = new / _size(new, power).clamp(min=TINY) * mass
        return _moved(torch.where(first.mask, new, torch.where(second.mask, 0.0, d)), p)


def _signs(u: Tensor) -> Tensor:
    return torch.where(u < 0.5, -1.0, 1.0).to(u.dtype)


def _size(d: Tensor, power: int) -> Tensor:
    """[B,C,1,1]: the norm of each channel."""
    size = d.abs().flatten(2).sum(2) if power == 1 else d.square().flatten(2).sum(2).sqrt()
    return size[:, :, None, None]


def _moved(d: Tensor, p: Problem) -> Tensor:
    """x0 moved along d [B,C,H,W], by the whole budget (in L1: by d), inside ball and box."""
    d = d.reshape(p.x0.shape)
    return p.ball.project(p.x0 + d) if p.norm.name == "l1" else p.ball.ascend(p.x0, d, p.eps)
