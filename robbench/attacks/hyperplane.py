"""The shortest way to a hyperplane inside the box.

Croce and Hein 2020, arXiv:1907.02044, section 2.2 and appendix A.

    min size(d)  such that  <w, d> = gap,  x + d in [0,1]

With u = |w|, and room_i the way that x_i can go to the gap's side, the solution is d_i = sign(w_i
gap) m_i where

    linf   m_i = min(lam, room_i)          the coordinates move together until each meets its face
    l2     m_i = min(lam u_i, room_i)      likewise, in proportion to u_i
    l1     m_i = room_i for the largest u_i, then what is left of the gap for the next one, then 0

For linf and l2, <u, m> grows with lam along straight pieces that meet where a coordinate meets its
face: one sort of those lam, and two cumulative sums, give the piece that holds |gap|. Where the box
is too small for the gap, d goes all the way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.core.errors import unknown
from robbench.threat.norms import BOX


def to_hyperplane(x: Tensor, w: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The d [...,D] for points x [...,D] of the box.

    w: normals, broadcast to x. gap [...] = b - <w, x>.

    Zero where w is zero or the gap is no number. `norm` is linf, l2 or l1.
    """
    tiny = torch.finfo(x.dtype).tiny
    # Squares of a saturated model's gradient would underflow.
    scale = w.abs().amax(-1, keepdim=True).clamp(min=tiny)
    gap = (gap.nan_to_num(0.0)[..., None] / scale).nan_to_num(0.0)
    w = w / scale
    # What is smaller cannot be distinguished from zero.
    u = torch.where(w * w >= tiny, w.abs(), torch.zeros_like(w))
    sign = w.sign() * gap.sign()
    room = torch.where(sign > 0, BOX[1] - x, x - BOX[0]).clamp(min=0) * (u > 0)
    if norm == "linf":
        return sign * _together(torch.ones_like(u), u, room, gap.abs())
    if norm == "l2":
        return sign * _together(u, u, room, gap.abs())
    if norm == "l1":
        return sign * _in_turn(u, room, gap.abs())
    raise unknown("norm of a projection onto a hyperplane", norm, ["linf", "l2", "l1"])


def _together(speed: Tensor, u: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """m_i = min(lam speed_i, room_i) with <u, m> = gap."""
    tiny = torch.finfo(u.dtype).tiny
    meets, order = (room / speed.clamp(min=tiny)).sort(dim=-1, stable=True)
    slope = (speed * u).expand_as(room).gather(-1, order)
    given = (slope * meets).cumsum(-1)
    # By the coordinates that have met their face when lam = meets_k.
    held = F.pad(given[..., :-1], (1, 0))
    # Slope of the others; not a difference, which would lose its digits.
    free = slope.flip(-1).cumsum(-1).flip(-1)
    piece = (held + meets * free < gap).sum(-1, keepdim=True).clamp(max=u.shape[-1] - 1)
    lam = (gap - held.gather(-1, piece)) / free.gather(-1, piece).clamp(min=tiny)
    return torch.where(given[..., -1:] >= gap, torch.minimum(lam.clamp(min=0) * speed, room), room)


def _in_turn(u: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """The m with the smallest sum and <u, m> = gap."""
    u, order = u.sort(dim=-1, descending=True, stable=True)
    order = order.expand_as(room)
    room = room.gather(-1, order)
    before = F.pad((u * room).cumsum(-1)[..., :-1], (1, 0))
    left = (gap - before).clamp(min=0) / u.clamp(min=torch.finfo(u.dtype).tiny)
    return torch.zeros_like(room).scatter(-1, order, torch.minimum(left, room))
