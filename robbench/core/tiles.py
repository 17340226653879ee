"""Shapes of evaluation in which a row's answer does not depend on the other rows.

Libraries choose their kernels by the number of rows, and kernels round differently. Which numbers
of rows agree depends on the model, the processor and the number of threads, so it is measured.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Why = Literal["", "random", "batch", "rounding"]

# Rows are measured so near to the inputs: real inputs are often exactly zero, which never rounds.
NOISE = 0.03
ROUNDING = 1e-4  # relative difference that rounding may explain
_STRIDE, _SHIFT = 5, 3  # where the other rows are placed; 5 has no factor in common with any tile
_CPU_STEP, _GPU_STEP = 4, 32
# On a CPU 32 rows are as fast as any larger batch, or faster: they stay in the cache.
_CPU_TILE, _GPU_TILE = 32, 256
# A few rows of so many entries occupy a device; more take memory, and time to be measured.
_LARGE_ROW = 3 * 128 * 128
_CPU_TILE_OF_LARGE, _GPU_TILE_OF_LARGE = 8, 64
_measured: weakref.WeakKeyDictionary[Any, dict[Any, dict[tuple[int, bool], RowEquality]]] = (
    weakref.WeakKeyDictionary()
)


class Tiles(NamedTuple):
    """A model is asked at most `rows` rows at once, always a multiple of `step`."""

    rows: int
    step: int

    def padded(self, n: int) -> int:
        """N rounded up to a number of rows that the model is asked."""
        return -(-n // self.step) * self.step

    def even(self, n: int) -> int:
        """The rows of a tile where n are asked in as few as can be, all about as large.

        A small one would cost far more per row.
        """
        return self.padded(-(-n // -(-n // self.rows)))

    def narrowed(self, width: int) -> Tiles:
        """No larger than what `width` rows need."""
        return self._replace(rows=min(self.rows, self.padded(max(width, 1))))

    def split(self, rows: Tensor) -> Iterator[tuple[Tensor, int]]:
        """`rows` [n,*] tile by tile, each padded with its first row, and its real rows' number."""
        for start in range(0, len(rows), self.rows):
            tile = rows[start : start + self.rows]
            yield (
                torch.cat(
                    [tile, tile[:1].expand(self.padded(len(tile)) - len(tile), *tile.shape[1:])]
                ),
                len(tile),
            )


class RowEquality(NamedTuple):
    """Whether answers are bit-equal in all batches of multiples of `step` rows, as measured.

    Also at other places among other neighbours. Where they do not, `why` says how they differ: when
    asked again (`random`), by more than rounding among other neighbours (`batch`), or by rounding
    at other places or times (`rounding`).
    """

    step: int
    equal: bool
    why: Why = ""

    def both(self, other: RowEquality) -> RowEquality:
        """What holds where two models are asked."""
        return RowEquality(
            max(self.step, other.step), self.equal and other.equal, self.why or other.why
        )


def largest_tile(device: torch.device, shape: Sequence[int], batch: int = 1) -> Tiles:
    """The largest tile of rows of a shape on a device, in the smallest step that may be enough.

    Of a model that takes batches of one size only, a tile is made of whole ones.
    """
    large = math.prod(shape) >= _LARGE_ROW
    if device.type == "cpu":
        rows, step = _CPU_TILE_OF_LARGE if large else _CPU_TILE, _CPU_STEP
    else:
        rows, step = _GPU_TILE_OF_LARGE if large else _GPU_TILE, _GPU_STEP
    if step % batch == 0:
        return Tiles(rows, step)
    step = batch * -(-step // batch)
    return Tiles(max(step, step * 2 ** (rows // step).bit_length() // 2), step)


def rows_measured(device: torch.device, shape: Sequence[int], rows: int | None = None) -> int:
    """Rows of which `row_equality` asks all answers, of a model that answers equally."""
    tiles = largest_tile(device, shape)
    return tiles.rows + sum(_sizes(tiles, tiles.rows if rows is None else rows))


def row_equality(
    model: Model, x: Tensor, *, rows: int | None = None, gradients: bool = True
) -> RowEquality:
    """Measure a model, frozen, on its device, with its threads, near inputs x [n,*].

    Every number of rows that is asked is compared with one full tile, so answers are equal in all
    runs, whatever is asked in them. `rows`: the most that are at once, any number by default.
    `gradients`: whether some are asked. Answers are logits without and with a graph, and gradients;
    else logits alone. It costs about as much as six steps of an attack on one tile, or two where
    rows are few (see `rows_measured`), once per model and process. Random states of torch are left
    as they were.
    """
    tiles = largest_tile(x.device, x.shape[1:], batch_of(model))
    if not len(x) or x.is_meta:  # nothing to differ
        return RowEquality(largest_tile(x.device, x.shape[1:]).step, equal=True)
    most = tiles.rows if rows is None else tiles.narrowed(rows).rows
    key = (x.device, x.shape[1:], torch.get_num_threads())
    known = _measured.setdefault(model, {}).setdefault(key, {})
    for (more, too), found in known.items():
        if more >= most and too >= gradients:
            return found
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        found = _measure(model, x, tiles, most, gradients)
    known[Tiles(tiles.rows, found.step).narrowed(most).rows, gradients] = found
    return found


def agrees(model: Model, x: Tensor, n: int, *, gradients: bool) -> bool:
    """Whether n rows alone get the answers of a full tile, measured as in `row_equality`."""
    if n % (batch := batch_of(model)):
        return False
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        full = _Tile(model, x, largest_tile(x.device, x.shape[1:], batch).rows, gradients)
        return full.agrees(n)


def batch_of(model: Model) -> int:
    """The only number of rows that a model takes at once, 1 where it takes any."""
    return getattr(model, "batch", None) or 1


def _sizes(tiles: Tiles, most: int) -> range:
    """The numbers of rows that are asked where at most so many are at once."""
    return range(tiles.step, tiles.narrowed(most).rows + 1, tiles.step)


def _measure(model: Model, x: Tensor, tiles: Tiles, most: int, gradients: bool) -> RowEquality:
    full = _Tile(model, x, tiles.rows, gradients)
    agrees = functools.cache(full.agrees)
    step = tiles.step
    while step <= tiles.rows:
        if all(map(agrees, _sizes(Tiles(tiles.rows, step), most))):
            return RowEquality(step, equal=True)
        step *= 2
    return RowEquality(tiles.step, equal=False, why=full.reason())


class _Tile:
    """A full tile's answers, which those of its rows at other places are compared with."""

    def __init__(self, model: Model, x: Tensor, rows: int, gradients: bool) -> None:
        self.model = model
        self.rows = rows
        self.gradients = gradients
        self.near = _near(x, rows + rows // 2)
        self.answers = _answers(model, self.near[:rows], gradients)

    def agrees(self, n: int) -> bool:
        """Whether n rows get the answers that they have in the full tile."""
        return _same(*self._both(n))

    def reason(self) -> Why:
        """Why other answers come in another full tile."""
        again = _answers(self.model, self.near[: self.rows], self.gradients)
        if not _same(again, self.answers):  # kernels that add in no fixed order are not random
            return "rounding" if _close(again, self.answers) else "random"
        return "rounding" if _close(*self._both(self.rows)) else "batch"

    def _both(self, n: int) -> tuple[Tensor, Tensor]:
        """The answers of n rows at other places, among other rows where n are a full tile."""
        places = torch.arange(n, device=self.near.device) * _STRIDE + _SHIFT
        places %= self.rows if n < self.rows else len(self.near)
        mine = places < self.rows
        found = _answers(self.model, self.near[places], self.gradients)
        return found[mine], self.answers[places[mine]]


def _close(found: Tensor, full: Tensor) -> bool:
    """Whether rounding may explain that two answers differ."""
    apart, size = (
        (found.double() - full.double()).nan_to_num().norm(),
        full.double().nan_to_num().norm(),
    )
    return bool(apart <= ROUNDING * size)


def _near(x: Tensor, n: int) -> Tensor:
    """N points [n,*] near inputs x in [0,1]."""
    noise = torch.rand(n, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    return (x[torch.arange(n, device=x.device) % len(x)] + NOISE * (2 * noise - 1)).clamp(0, 1)


def _answers(model: Model, x: Tensor, gradients: bool) -> Tensor:
    """[n,*] answers: logits, and if asked those with a graph and the gradient of a mixture."""
    with torch.no_grad():
        logits = model(x)
    if not gradients:
        return logits
    leaf = x.detach().requires_grad_()
    weights = torch.arange(logits.shape[1], device=x.device).cos().to(logits)
    gradient = torch.zeros_like(x)
    try:
        with torch.enable_grad():
            traced = model(leaf)
            value = (traced * weights).sum()
        if value.requires_grad:
            found = torch.autograd.grad(value, leaf, allow_unused=True)[0]
            gradient = gradient if found is None else found
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # some layers answer without gradients only
        traced = logits
    return torch.cat([logits, traced.detach(), gradient.flatten(1).to(logits)], 1)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())
