"""Several operators on rows in one loop, on a CPU: the bits of torch's, without the way to each.

An operator on a few rows costs less than calling it, and all its arrays pass the caches. The loops
are those of `kernels.py`; without numba, or for tensors that are not `fusable`, callers go by
torch's operators, which are what these loops are tested against.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


@functools.cache
def _kernels() -> Any:
    """The compiled loops, None without numba."""
    try:
        from robbench.core import kernels
    except (ImportError, OSError):  # also of a numba that refuses this numpy, or has lost a library
        return None
    return kernels


def draws(key: Tensor, dtype: torch.dtype) -> bool:
    """Whether `uniform` draws numbers of a type for keys [B]."""
    return key.is_cpu and dtype is torch.float32 and _kernels() is not None


def fusable(first: Tensor, *others: Tensor, each: Sequence[Tensor] = ()) -> bool:
    """Whether loops take such tensors: float32 [B,*] of one shape, dense, on a CPU, no graph.

    `each`: numbers [B] of the rows, float32 and dense too.
    """
    if not _plain(first) or not first.numel() or _kernels() is None:
        return False
    shape = first.shape
    return all(_plain(x) and x.shape == shape for x in others) and all(
        _plain(number) and number.shape == shape[:1] for number in each
    )


def _plain(x: Tensor) -> bool:
    return x.is_cpu and x.dtype is torch.float32 and x.is_contiguous() and not x.requires_grad


def _flat(x: Tensor) -> Array:
    """[B,D] of [B,*], a view: loops are compiled for two axes."""
    array = x.numpy()
    return array.reshape(len(array), -1)  # of a tensor len() takes longer


def _dense(x: Tensor) -> Array:
    """A class, mark or number of each row."""
    return x.contiguous().numpy()


def project(x: Tensor, x0: Tensor, eps: Tensor, out: Tensor | None = None) -> Tensor:
    """Points x [B,*] into the linf ball of eps [B] around x0, then into the box [0,1]."""
    out = torch.empty_like(x) if out is None else out
    _kernels().project(_flat(x), _flat(x0), eps.numpy(), _flat(out))
    return out


def ascend(x: Tensor, g: Tensor, length: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
    """Points x [B,*] moved by a length [B] along the signs of g, then as of `project`."""
    out = torch.empty_like(x)
    _kernels().ascend(_flat(x), _flat(g), length.numpy(), _flat(x0), eps.numpy(), _flat(out))
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
    arrays = _flat(x), _flat(g), length.numpy(), _flat(before), share.numpy()
    _kernels().stride(*arrays, np.float32(inertia), _flat(x0), eps.numpy(), _flat(out))
    return out


def advance(
    x: Tensor,
    g: Tensor,
    value: Tensor,
    before: Tensor,
    value_before: Tensor,
    x_top: Tensor,
    g_top: Tensor,
    top: Tensor,
    rises: Tensor,
    length: Tensor,
    alpha: float,
    x0: Tensor,
    eps: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A move of APGD in linf, between its checkpoints.

    The points that `stride` gives, then those of the largest values so far with their gradients g
    and these values, and the number of moves that raised them.
    """
    out, out_top, out_rises = (torch.empty_like(like) for like in (x, top, rises))
    tops = torch.empty_like(x), torch.empty_like(x)
    here = _flat(x), _flat(g), value.numpy(), _flat(before), value_before.numpy()
    known = _flat(x_top), _flat(g_top), top.numpy(), rises.numpy(), length.numpy()
    ball = np.float32(alpha), np.float32(1 - alpha), _flat(x0), eps.numpy()
    news = _flat(out), *map(_flat, tops), out_top.numpy(), out_rises.numpy()
    if not _kernels().advance(*here, *known, *ball, *news):
        tops = x_top, g_top
    return out, *tops, out_top, out_rises


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[B,*]: rows of a where mask [B], else of b."""
    out = torch.empty_like(b)
    _kernels().pick(_dense(mask), _flat(a), _flat(b), _flat(out))
    return out


def plain(g: Tensor, moves: Tensor, backwards: Tensor, each: int) -> bool:
    """Whether no row of g [B,*] has an entry that is no number or infinite, or only zeros.

    `backwards` [B] int64 grows by `each` in the rows that move [B].
    """
    return bool(_kernels().plain(_flat(g), _dense(moves), backwards.numpy(), each))


def look(
    logits: Tensor, aim: Tensor, targeted: bool, active: Tensor, best: Tensor, forwards: Tensor
) -> tuple[Tensor, Tensor, int] | None:
    """[B] each, what is left until success and whether it is there, and a number of rows.

    Those rows are active [B] and succeed, or have less left than `best` [B]. `aim` and `targeted`
    as of a Problem. None where a margin is not finite; else `forwards` [B] int64 grows by 1 in the
    active rows.
    """
    left, hit = torch.empty_like(best), torch.empty_like(active)
    arrays = _dense(active), best.numpy(), forwards.numpy(), left.numpy(), hit.numpy()
    count = _kernels().look(logits.numpy(), _dense(aim), targeted, *arrays)
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
    found, first, points, best, size = booked
    arrays = left.numpy(), hit.numpy(), _dense(active), _flat(x0), eps.numpy(), _dense(t)
    books = found.numpy(), first.numpy(), _flat(points), best.numpy(), size.numpy()
    return bool(_kernels().keep(_flat(x), *arrays, *books))


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """[B]: the logit of class y [B] less the largest other."""
    out = logits.new_empty(len(logits))
    _kernels().margins(logits.numpy(), _dense(y), out.numpy())
    return out


def cross_entropy(logits: Tensor, y: Tensor, straight: float) -> tuple[Tensor, Tensor]:
    """As `slopes.cross_entropy`."""
    value, slope = logits.new_empty(len(logits)), torch.empty_like(logits)
    _kernels().cross_entropy(logits.numpy(), _dense(y), straight, value.numpy(), slope.numpy())
    return value, slope


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor, guard: float) -> tuple[Tensor, Tensor]:
    """As `slopes.dlr_targeted`."""
    value, slope = logits.new_empty(len(logits)), torch.empty_like(logits)
    arrays = logits.numpy(), _dense(y), _dense(target)
    _kernels().dlr_targeted(*arrays, guard, value.numpy(), slope.numpy())
    return value, slope


def uniform(key: Tensor, n: int) -> Tensor:
    """[B,n] as `keyed.uniform` of folded keys [B] int64."""
    out = key.new_empty(len(key), n, dtype=torch.float32)
    _kernels().uniform(_dense(key).view(np.uint64), out.numpy())
    return out


def squares(
    x: Tensor,
    margin: Tensor,
    hit: Tensor,
    x_best: Tensor,
    lowest: Tensor,
    faces: Tensor,
    key: Tensor,
    t: Tensor,
    moves: Tensor,
    sizes: tuple[Tensor, Tensor, Tensor],
    frame: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The next candidates of Square in linf, its best points [B,*], and their margins [B].

    Rows of x that hit [B], or whose margin [B] is below `lowest` [B], become the best ones. `faces`
    [B,2D]: what windows may be set to, drawn by `key` [B] and step t [B]. `sizes`: marks, heights
    and widths of the windows, by `moves` [B]. `frame`: height and width of an image.
    """
    out, out_best, out_lowest = (torch.empty_like(like) for like in (x, x, lowest))
    seen = _flat(x), margin.numpy(), hit.numpy(), _flat(x_best), lowest.numpy(), faces.numpy()
    drawn = _dense(key).view(np.uint64), _dense(t), _dense(moves)
    news = _flat(out), _flat(out_best), out_lowest.numpy()
    shapes = *(size.numpy() for size in sizes), *frame
    changed = _kernels().squares(*seen, *drawn, *shapes, *news)
    return out, out_best if changed else x_best, out_lowest
