"""Windows of Square (arXiv:1912.00049): their places, sizes and contents.

An image is [C,H,W]; flat inputs [D] are images of one row, and further axes before the last two
count as channels. Where a square does not fit, it becomes a rectangle of the same area (the
authors' code cuts it to the shorter side).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

MOVES = 10_000  # of the paper's schedule
# After so many of these the windows' area is halved.
MARKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Plan(NamedTuple):
    """One entry for each level of the schedule: 0 before the first mark, 9 after the last."""

    marks: Tensor  # [9]
    height: Tensor  # [10] int64
    width: Tensor  # [10]
    # [10,2,h,w]: what to write, not transposed and transposed, in the upper left corner; else zero
    eta: Tensor
    # [10] of [n] int64: what to add to a window's first pixel to have each of its n pixels
    offsets: tuple[Tensor, ...]
    # [10,n] int64: the same, n of the largest window; smaller ones name their last pixel again
    padded: Tensor


class Window(NamedTuple):
    """One window per row."""

    i: Tensor  # [B,H,1] int64: a pixel's place in the window; outside it below 0 or too large
    j: Tensor  # [B,1,W]
    mask: Tensor  # [B,1,H,W] bool


def image_shape(shape: torch.Size) -> tuple[int, int, int]:
    """Channels, height and width of an input of any shape."""
    *channels, height, width = (1, *shape)
    return math.prod(channels), height, width


def window_size(area: float, height: int, width: int, power: int) -> tuple[int, int]:
    """Side of the square nearest to an area.

    In l2 and l1 (power 2, 1; linf: 0) it is odd and at least 3, for two halves.
    """
    least = 3 if power else 1
    side = max(round(math.sqrt(area)), least) | (power > 0)
    short = min(side, height, width)
    long = (
        short if short == side else min(max(height, width), max(least, short, round(area / short)))
    )
    return (short, long) if height <= width else (long, short)


def pyramid(height: int, width: int, power: int) -> Tensor:
    """[height,width]: sum over j >= k of 1 / (j + 1)^(4/power), k pixels from the middle.

    k is the larger of both distances.

    The sum ends at the end of the longer side. In float64.
    """
    i, j = ((torch.arange(n) - n // 2).abs() for n in (height, width))
    terms = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** (-4 / power)
    return terms.flip(0).cumsum(0).flip(0)[torch.maximum(i[:, None], j[None])]


def two_halves(height: int, width: int, power: int) -> Tensor:
    """[height,width] of size 1: a pyramid above one of the other sign; of one row, one half."""
    upper, lower = (
        _unit(pyramid(n, width, power), power) for n in (height // 2, height - height // 2)
    )
    return _unit(torch.cat([upper, -lower]), power)


def both_ways(height: int, width: int, power: int) -> Tensor:
    """[2,height,width]: two halves one above the other, and side by side."""
    return torch.stack([two_halves(height, width, power), two_halves(width, height, power).T])


def _unit(values: Tensor, power: int) -> Tensor:
    return values / (values.abs() ** power).sum() ** (1 / power)


@functools.cache
def plan(
    height: int, width: int, p_init: float, power: int, dtype: torch.dtype, device: torch.device
) -> Plan:
    """Sizes and patterns: the area is p_init of the image, halved at each mark."""
    sizes = [
        window_size(p_init / 2**level * height * width, height, width, power)
        for level in range(len(MARKS) + 1)
    ]
    high, wide = (max(column) for column in zip(*sizes, strict=True))
    eta = torch.zeros(len(sizes), 2, high, wide, dtype=torch.float64)
    for level, (h, w) in enumerate(sizes if power else ()):
        eta[level, :, :h, :w] = both_ways(h, w, power)
    marks, heights, widths = (
        torch.tensor(column, device=device) for column in (MARKS, *zip(*sizes, strict=True))
    )
    pixels = torch.arange(height * width).reshape(height, width)
    inside = [pixels[:h, :w].flatten() for h, w in sizes]
    padded = torch.stack([F.pad(n, (0, len(inside[0]) - len(n)), value=int(n[-1])) for n in inside])
    return Plan(
        marks,
        heights,
        widths,
        eta.to(device, dtype),
        tuple(n.to(device) for n in inside),
        padded.to(device),
    )


def corner(u: Tensor, size: Tensor, whole: int) -> Tensor:
    """[B,1] int64: first place of a size [B] in `whole`, all alike likely, from u [B] in [0,1)."""
    return (u * (whole - size + 1)).long()[:, None]


def offsets(plan: Plan, level: Tensor) -> Tensor:
    """[B,1,n] or [n] int64: the plan's for windows of levels [B], n those of the largest."""
    n = len(plan.offsets[0])  # of any level: asking for these rows' would make a GPU's host wait
    if level.is_cpu:
        levels: set[int] = set(level.tolist())
        if len(levels) == 1:
            return plan.offsets[levels.pop()]
        n = len(plan.offsets[min(levels)])
    return plan.padded[:, :n].index_select(0, level)[:, None]


def place(u: Tensor, size: tuple[Tensor, Tensor], height: int, width: int) -> Window:
    """Windows of a size ([B], [B]), uniform among those inside the image, from u [B,2] in [0,1)."""
    i, j = (
        torch.arange(whole, device=u.device)[None] - corner(u[:, axis], size[axis], whole)
        for axis, whole in enumerate((height, width))
    )
    rows, columns = ((n >= 0) & (n < size[axis][:, None]) for axis, n in enumerate((i, j)))
    return Window(i[:, :, None], j[:, None, :], (rows[:, :, None] & columns[:, None, :])[:, None])


def pattern(eta: Tensor, level: Tensor, way: Tensor, window: Window) -> Tensor:
    """[B,1,H,W]: the pattern of each row's level and way (0 or 1) in its window, zero outside."""
    _, _, high, wide = eta.shape
    row = (level * 2 + way)[:, None, None] * high + window.i.clamp(0, high - 1)
    return torch.where(
        window.mask, eta.reshape(-1)[row * wide + window.j.clamp(0, wide - 1)][:, None], 0.0
    )


def grid(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Tile size and number of tiles at the start in l2 and l1: a fifth of a side, or a pixel."""
    tile = max(height // 5, 1), max(width // 5, 1)
    return tile, (height // tile[0], width // tile[1])


def tiled(ways: Tensor, signs: Tensor, height: int, width: int, power: int) -> Tensor:
    """[B,C,H,W]: a pattern on each tile, zero elsewhere.

    way [B,1,n,m] (bool: side by side) and sign [B,C,n,m] are given.
    """
    (h, w), (n, m) = grid(height, width)
    up, left = (height - n * h) // 2, (width - m * w) // 2

    edges = (left, width - m * w - left, up, height - n * h - up)

    def spread(values: Tensor) -> Tensor:
        return F.pad(values.repeat_interleave(h, -2).repeat_interleave(w, -1), edges)

    above, beside = F.pad(both_ways(h, w, power).to(signs).repeat(1, n, m), edges)
    return torch.where(spread(ways), beside, above) * spread(signs)
