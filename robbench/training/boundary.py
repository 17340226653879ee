"""The way to the boundary where a margin of the logits is zero, by FAB's moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.fab import FAB
from robbench.core.rows import pick
from robbench.threat.problem import Problem

Ask = Callable[[Tensor], tuple[Tensor, Tensor]]  # of points: margins [B] and gradients [B,*]


class Boundary(NamedTuple):
    """The nearest points found beyond the boundary."""

    x: Tensor  # [B,*], the input where none was found
    distance: Tensor  # [B] in the problem's norm: 0 where the input is beyond, inf where none is
    slope: Tensor  # [B] dual norm of the margin's gradient at x


def to_boundary(fab: FAB, ask: Ask, p: Problem) -> Boundary:
    """Go from x0 beyond the boundary, and back and forth across it.

    Asks for 2 `iterations` points of every row: FAB itself at most. Its `beta`, `eta` and
    `alpha_max` count; it starts at x0, and there is one boundary, so its other settings do not.
    """
    x, best = p.x0, Boundary(p.x0, torch.full_like(p.eps, torch.inf), torch.zeros_like(p.eps))
    for _ in range(fab.steps + 1):
        margin, gradient = ask(x)
        gradient = p.movable(gradient)
        beyond, size = margin < 0, p.norm.size(x - p.x0)
        nearer = beyond & (size < best.distance)
        here = (x, size, p.norm.dual(gradient))
        best = Boundary(*[pick(nearer, new, old) for new, old in zip(here, best, strict=True)])
        moved = fab.moved(x, margin, -gradient, p)
        x = pick(beyond, p.x0 + fab.beta * (x - p.x0), moved)
    return best
