"""The shortest way to a hyperplane inside the box.

Croce and Hein 2020, arXiv:1907.02044, section 2.2 and appendix A.

    min size(d)  such that  <w, d> = gap,  x + d in [0,1]

With u = |w|, and room_i the way that x_i can go to the gap's side, the solution is d_i = sign(w_i
gap) m_i where

    linf   m_i = min(lam, room_i)          the coordinates move together until each meets its face
    l2     m_i = min(lam u_i, room_i)      likewise, in proportion to u_i
    l1     m_i = room_i for the largest u_i, then what is left of the gap for the next one, then 0

For linf and l2, <u, m> grows with lam along straight pieces, ever slower, as one coordinate after
the other meets its face. So Newton's steps from lam = 0 never go too far, and are done as soon as
no more coordinate meets its face: after a few passes, where a sort would cost ten times as much.
Where the box is too small for the gap, d goes all the way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.core.errors import unknown


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
    # A w whose square underflows cannot be distinguished from zero.
    u = F.threshold(w.abs(), tiny**0.5, 0.0)
    sign = w.sign() * gap.sign()
    # 1 - x or x, without masks, which cost ten times as much.
    room = ((sign + 1) / 2 - sign * x).clamp(min=0) * u.sign()
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
    whole = tiny**-0.5  # a lam that takes every coordinate to its face
    given, slope = u * room, speed * u
    enough = given.sum(-1, keepdim=True) >= gap
    goal = torch.where(enough, gap, 0.0)
    lam, before = torch.zeros_like(goal), torch.full_like(goal, -1.0)
    while (lam > before).any():
        before = lam
        free = (room - lam * speed).sign().clamp(min=0)  # 1 where the face is not met, else 0
        held = (given - given * free).sum(-1, keepdim=True)
        rate = (slope * free).sum(-1, keepdim=True)
        lam = torch.maximum(lam, ((goal - held) / rate.clamp(min=tiny)).clamp(max=whole))
    return torch.minimum(torch.where(enough, lam, whole) * speed, room)


def _in_turn(u: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """The m with the smallest sum and <u, m> = gap."""
    u, order = u.sort(dim=-1, descending=True, stable=True)
    order = order.expand_as(room)
    room = room.gather(-1, order)
    before = F.pad((u * room).cumsum(-1)[..., :-1], (1, 0))
    left = (gap - before).clamp(min=0) / u.clamp(min=torch.finfo(u.dtype).tiny)
    return torch.zeros_like(room).scatter(-1, order, torch.minimum(left, room))
