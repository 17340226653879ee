"""Several operators on rows in one loop, on a CPU: the bits of torch's, without the way to each.

An operator on a few rows costs less than calling it, and all its arrays pass the caches. The loops
are those of `kernels.py`; without numba, or for tensors that are not `fusable`, callers go by
torch's operators, which are what these loops are tested against.
"""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor


@functools.cache
def _kernels() -> ModuleType | None:
    """The compiled loops, None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from robbench.core import kernels

    return kernels


def draws(key: Tensor, dtype: torch.dtype) -> bool:
    """Whether `uniform` draws numbers of a type for keys [B]."""
    return key.is_cpu and dtype is torch.float32 and _kernels() is not None


def fusable(first: Tensor, *others: Tensor) -> bool:
    """Whether loops take such tensors: float32 [B,*] of one shape, dense, on a CPU, no graph."""
    if not _plain(first) or not first.numel() or _kernels() is None:
        return False
    shape = first.shape
    return all(_plain(x) and x.shape == shape for x in others)


def _plain(x: Tensor) -> bool:
    return x.is_cpu and x.dtype is torch.float32 and x.is_contiguous() and not x.requires_grad


def project(x: Tensor, x0: Tensor, eps: Tensor, out: Tensor | None = None) -> Tensor:
    """Points x [B,*] into the linf ball of eps [B] around x0, then into the box [0,1]."""
    out = torch.empty_like(x) if out is None else out
    _loops().project(x.numpy(), x0.numpy(), eps.numpy(), out.numpy())
    return out


def ascend(x: Tensor, g: Tensor, length: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
    """Points x [B,*] moved by a length [B] along the signs of g, then as of `project`."""
    out = torch.empty_like(x)
    _loops().ascend(x.numpy(), g.numpy(), length.numpy(), x0.numpy(), eps.numpy(), out.numpy())
    return out


def stride(
    x: Tensor,
    g: Tensor,
    length: Tensor,
    before: Tensor,
    share: Tensor,
    inertia: float,
    x0: Tensor,
    eps: Tensor,
) -> Tensor:
    """The points x + share (z - x) + inertia (x - before) [B,*], z of `ascend`, projected.

    length, share, eps: [B].
    """
    out = torch.empty_like(x)
    arrays = x.numpy(), g.numpy(), length.numpy(), before.numpy(), share.numpy()
    _loops().stride(*arrays, np.float32(inertia), x0.numpy(), eps.numpy(), out.numpy())
    return out


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[B,*]: rows of a where mask [B], else of b."""
    out = torch.empty_like(b)
    _loops().pick(mask.numpy(), a.numpy(), b.numpy(), out.numpy())
    return out


def plain(g: Tensor, moves: Tensor, backwards: Tensor, each: int) -> bool:
    """Whether no row of g [B,*] has an entry that is no number or infinite, or only zeros.

    `backwards` [B] int64 grows by `each` in the rows that move [B].
    """
    return bool(_loops().plain(g.numpy(), moves.numpy(), backwards.numpy(), each))


def look(
    logits: Tensor, aim: Tensor, targeted: bool, active: Tensor, best: Tensor, forwards: Tensor
) -> tuple[Tensor, Tensor, int] | None:
    """[B] each, what is left until success and whether it is there, and a number of rows.

    Those rows are active [B] and succeed, or have less left than `best` [B]. `aim` and `targeted`
    as of a Problem. None where a margin is not finite; else `forwards` [B] int64 grows by 1 in the
    active rows.
    """
    left, hit = torch.empty_like(best), torch.empty_like(active)
    arrays = active.numpy(), best.numpy(), forwards.numpy(), left.numpy(), hit.numpy()
    count = _loops().look(logits.numpy(), aim.numpy(), targeted, *arrays)
    return None if count < 0 else (left, hit, count)


def keep(
    x: Tensor,
    left: Tensor,
    hit: Tensor,
    active: Tensor,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    booked: tuple[Tensor, ...],
) -> bool:
    """Book the active rows' points that are in the linf ball and worse than those booked.

    `booked`: found, first, points, margins and sizes of the book, which are changed. Whether a row
    was found for the first time.
    """
    arrays = (array.numpy() for array in (x, left, hit, active, x0, eps, t, *booked))
    return bool(_loops().keep(*arrays))


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """[B]: the logit of class y [B] less the largest other."""
    out = logits.new_empty(len(logits))
    _loops().margins(logits.numpy(), y.numpy(), out.numpy())
    return out


def cross_entropy(logits: Tensor, y: Tensor, straight: float) -> tuple[Tensor, Tensor]:
    """As `slopes.cross_entropy`."""
    value, slope = logits.new_empty(len(logits)), torch.empty_like(logits)
    _loops().cross_entropy(logits.numpy(), y.numpy(), straight, value.numpy(), slope.numpy())
    return value, slope


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor, guard: float) -> tuple[Tensor, Tensor]:
    """As `slopes.dlr_targeted`."""
    value, slope = logits.new_empty(len(logits)), torch.empty_like(logits)
    arrays = logits.numpy(), y.numpy(), target.numpy()
    _loops().dlr_targeted(*arrays, guard, value.numpy(), slope.numpy())
    return value, slope


def uniform(key: Tensor, n: int) -> Tensor:
    """[B,n] as `keyed.uniform` of folded keys [B] int64."""
    out = torch.empty(len(key), n)
    _loops().uniform(key.numpy().view(np.uint64), out.numpy())
    return out


def windows(
    x: Tensor, faces: Tensor, drawn: Tensor, heights: Tensor, widths: Tensor, across: int
) -> Tensor:
    """[B,*]: rows of x, a window of each channel set to what `faces` [B,2D] has there.

    drawn [B,1+2C] int64: the level of the window's size in `heights` and `widths`, and its first
    entry by channel, in x and in `faces`. across: entries of a line of the image.
    """
    out = torch.empty_like(x)
    arrays = x.numpy(), faces.numpy(), drawn.contiguous().numpy()
    _loops().windows(*arrays, heights.numpy(), widths.numpy(), across, out.numpy())
    return out


def _loops() -> Any:
    return _kernels()
