"""Loops over rows, compiled by numba for a CPU; `fused.py` calls them.

Arrays are dense, float32 [B,D] or of rows [B]: each loop is compiled once, for these. Compiled
without fast math, so each operator rounds as torch's does. Nothing looks whether an index is inside
an array but `_require`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
Floats = np.ndarray[Any, np.dtype[np.float32]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Wholes = np.ndarray[Any, np.dtype[np.uint64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

ZERO, HALF, ONE, INF = (np.float32(value) for value in (0, 0.5, 1, np.inf))
GAMMA, M1, M2 = (  # SplitMix64's, see `keyed.py`
    np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
STEP = np.float32(2.0**-24)
NEARLY, SLACK = np.float32(1 + 1e-5), np.float32(1e-7)  # of `threat.tolerance.fits`


def compiled(function: F) -> F:
    """The function in machine code, kept on disk for later processes where that can be written."""
    try:
        return cast(F, numba.njit(cache=True, error_model="numpy")(function))
    except RuntimeError:  # no folder to keep it in
        return cast(F, numba.njit(error_model="numpy")(function))


@numba.njit(inline="always", error_model="numpy")
def _inside(value: np.float32, x0: np.float32, eps: np.float32) -> np.float32:
    d = value - x0
    d = eps if d > eps else d
    d = -eps if d < -eps else d
    value = d + x0
    value = ZERO if value < ZERO else value
    return ONE if value > ONE else value


@numba.njit(inline="always", error_model="numpy")
def _ascended(
    x: np.float32, g: np.float32, step: np.float32, x0: np.float32, eps: np.float32
) -> np.float32:
    move = step if g > ZERO else (-step if g < ZERO else ZERO)
    return _inside(move + x, x0, eps)


@numba.njit(inline="always", error_model="numpy")
def _strode(
    x: np.float32,
    g: np.float32,
    step: np.float32,
    before: np.float32,
    share: np.float32,
    inertia: np.float32,
    x0: np.float32,
    eps: np.float32,
) -> np.float32:
    z = _ascended(x, g, step, x0, eps)
    return _inside((z - x) * share + x + (x - before) * inertia, x0, eps)


@numba.njit(inline="always", error_model="numpy")
def _largest(row: Floats) -> np.float32:
    """As integers, where NaN is the largest: only of these is the loop vectorised."""
    bits, top = row.view(np.int32), np.int32(0)
    for j in range(len(bits)):
        size = np.int32(bits[j] & np.int32(0x7FFFFFFF))
        top = size if size > top else top
    return np.float32(np.array([top], np.int32).view(np.float32)[0])


@numba.njit(inline="always", error_model="numpy")
def _stirred(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * M1
    return (z ^ (z >> np.uint64(27))) * M2


@numba.njit(inline="always", error_model="numpy")
def _mixed(z: np.uint64) -> np.uint64:
    """As `keyed.mix`."""
    z = _stirred(z + GAMMA)
    return z ^ (z >> np.uint64(31))


@numba.njit(error_model="numpy")
def _positions(n: int) -> Wholes:
    """Those of n uniform numbers, mixed."""
    position = np.empty(n, np.uint64)
    for j in range(n):
        position[j] = _mixed(np.uint64(j))
    return position


@numba.njit(inline="always", error_model="numpy")
def _number(folded: np.uint64, position: np.uint64) -> np.float32:
    """The uniform number of a folded key at a mixed position."""
    return np.float32(_stirred((folded ^ position) + GAMMA) >> np.uint64(40)) * STEP


@numba.njit(error_model="numpy")
def _require(classes: Ints, logits: Floats) -> None:
    if len(classes) != len(logits):
        raise IndexError("not one class for each row of logits")
    for k in classes:
        if not 0 <= k < logits.shape[1]:
            raise IndexError("a class is out of range: the model has no such logit")


@numba.njit(inline="always", error_model="numpy")
def _other(row: Floats, label: int) -> np.float32:
    """The largest but that of the label; NaN where one is."""
    other = -INF
    for k in range(len(row)):
        if k != label and (row[k] > other or row[k] != row[k]):
            other = row[k]
    return other


@compiled
def project(x: Floats, x0: Floats, eps: Floats, out: Floats) -> None:
    """Into the linf ball around x0, then the box."""
    for i in range(x.shape[0]):
        wide = eps[i]
        for j in range(x.shape[1]):
            out[i, j] = _inside(x[i, j], x0[i, j], wide)


@compiled
def ascend(x: Floats, g: Floats, length: Floats, x0: Floats, eps: Floats, out: Floats) -> None:
    """A step along the signs of g, then `project`."""
    for i in range(x.shape[0]):
        step, wide = length[i], eps[i]
        for j in range(x.shape[1]):
            out[i, j] = _ascended(x[i, j], g[i, j], step, x0[i, j], wide)


@compiled
def stride(
    x: Floats,
    g: Floats,
    length: Floats,
    before: Floats,
    share: Floats,
    inertia: np.float32,
    x0: Floats,
    eps: Floats,
    out: Floats,
) -> None:
    """The point x + share (z - x) + inertia (x - before), z as of `ascend`, then `project`."""
    for i in range(x.shape[0]):
        step, wide, part = length[i], eps[i], share[i]
        for j in range(x.shape[1]):
            out[i, j] = _strode(x[i, j], g[i, j], step, before[i, j], part, inertia, x0[i, j], wide)


@compiled
def advance(
    x: Floats,
    g: Floats,
    value: Floats,
    before: Floats,
    value_before: Floats,
    x_top: Floats,
    g_top: Floats,
    top: Floats,
    rises: Ints,
    length: Floats,
    share: np.float32,
    inertia: np.float32,
    x0: Floats,
    eps: Floats,
    out: Floats,
    out_x_top: Floats,
    out_g_top: Floats,
    out_top: Floats,
    out_rises: Ints,
) -> bool:
    """A move of APGD, see `fused.advance`; whether a row is at a new top."""
    changed = (value > top).any()
    for i in range(x.shape[0]):
        better = value[i] > top[i]
        out_top[i] = value[i] if better else top[i]
        out_rises[i] = rises[i] + (value[i] > value_before[i])
        if changed:
            row, slope = (x[i], g[i]) if better else (x_top[i], g_top[i])
            for j in range(x.shape[1]):
                out_x_top[i, j] = row[j]
                out_g_top[i, j] = slope[j]
        step, wide = length[i], eps[i]
        for j in range(x.shape[1]):
            out[i, j] = _strode(
                x[i, j], g[i, j], step, before[i, j], share, inertia, x0[i, j], wide
            )
    return bool(changed)


@compiled
def pick(mask: Bools, a: Floats, b: Floats, out: Floats) -> None:
    """Rows of a where mask, else of b."""
    for i in range(a.shape[0]):
        row = a[i] if mask[i] else b[i]
        for j in range(a.shape[1]):
            out[i, j] = row[j]


@compiled
def plain(g: Floats, moves: Bools, backwards: Ints, each: int) -> bool:
    """Whether no row has an entry that is no number or infinite, or only zeros.

    In place: `each` backwards more of the rows that move.
    """
    for i in range(len(moves)):
        backwards[i] += each * moves[i]
    for row in g:  # noqa: SIM110 - a generator would not be compiled
        if not ZERO < _largest(row) < INF:
            return False
    return True


@compiled
def look(
    logits: Floats,
    aim: Ints,
    targeted: bool,
    active: Bools,
    best: Floats,
    forwards: Ints,
    left: Floats,
    hit: Bools,
) -> int:
    """What is left until success, and whether it is there: rows that may be worth a place.

    Those are active, and succeed or have less left than `best`. -1: a margin is not finite. Else in
    place: a forward more of the active rows.
    """
    _require(aim, logits)
    count = 0
    for i in range(logits.shape[0]):
        row, label = logits[i], aim[i]
        margin = row[label] - _other(row, label)
        if not -INF < margin < INF:
            return -1
        first = 0
        for k in range(len(row)):
            first = k if row[k] > row[first] else first
        left[i] = -margin if targeted else margin
        hit[i] = (first == label) == targeted
        count += active[i] and (hit[i] or left[i] < best[i])
    for i in range(len(active)):
        forwards[i] += active[i]
    return count


@compiled
def keep(
    x: Floats,
    left: Floats,
    hit: Bools,
    active: Bools,
    x0: Floats,
    eps: Floats,
    t: Ints,
    found: Bools,
    first: Ints,
    points: Floats,
    best: Floats,
    size: Floats,
) -> int:
    """Book the active rows' points that are in the linf ball and worse than those booked.

    In place: found, first, points, best, size. The number of rows found for the first time.
    """
    apart = np.empty(x.shape[1], np.float32)
    news = 0
    for i in range(x.shape[0]):
        if not active[i] or not (hit[i] or left[i] < best[i]):
            continue
        outside = 0
        for j in range(x.shape[1]):
            value = x[i, j]
            apart[j] = value - x0[i, j]
            outside += not (value >= ZERO and value <= ONE)  # also NaN
        far = _largest(apart)
        if outside or not far <= eps[i] * NEARLY + SLACK:
            continue
        if eps[i] == INF:
            better = hit[i] and far < size[i]
        else:  # also where margins tie: argmax decides, and this is the point to keep
            better = (hit[i] and not found[i]) or left[i] < best[i]
        if better:
            best[i], size[i] = left[i], far
            for j in range(x.shape[1]):
                points[i, j] = x[i, j]
        if hit[i] and not found[i]:
            found[i], first[i] = True, t[i]
            news += 1
    return news


@compiled
def margins(logits: Floats, y: Ints, out: Floats) -> None:
    """The logit of a class less the largest other; NaN where one is."""
    _require(y, logits)
    for i in range(logits.shape[0]):
        out[i] = logits[i, y[i]] - _other(logits[i], y[i])


@compiled
def cross_entropy(logits: Floats, y: Ints, straight: float, value: Floats, slope: Floats) -> None:
    """As `slopes.cross_entropy`, in float64."""
    _require(y, logits)
    for i in range(logits.shape[0]):
        row, label = logits[i], y[i]
        top = -np.inf
        for k in range(len(row)):
            if k != label and row[k] > top:
                top = np.float64(row[k])
        shift = top if np.isfinite(top) else 0.0
        total = 0.0
        for k in range(len(row)):
            if k != label:
                total += np.exp(row[k] - shift)
        total = shift + np.log(total)
        gap = total - row[label]
        up = 1 / (1 + np.exp(-gap))
        value[i] = gap if gap > straight else np.log1p(np.exp(gap))
        for k in range(len(row)):
            slope[i, k] = np.exp(row[k] - total) * up
        slope[i, label] = -up


@compiled
def dlr_targeted(
    logits: Floats, y: Ints, target: Ints, guard: float, value: Floats, slope: Floats
) -> None:
    """As `slopes.dlr_targeted`, in float64."""
    _require(y, logits)
    _require(target, logits)
    for i in range(logits.shape[0]):
        row = logits[i]
        first = second = third = fourth = -1
        odd = False
        for k in range(len(row)):
            z = row[k]
            odd |= z != z
            if first < 0 or z > row[first]:
                first, second, third, fourth = k, first, second, third
            elif second < 0 or z > row[second]:
                second, third, fourth = k, second, third
            elif third < 0 or z > row[third]:
                third, fourth = k, third
            elif fourth < 0 or z > row[fourth]:
                fourth = k
        scale = row[first] - (np.float64(row[third]) + row[fourth]) / 2 + guard
        scale = np.nan if odd else scale
        lead = (np.float64(row[target[i]]) - row[y[i]]) / scale
        up, down = 1 / scale, lead / scale
        parts = np.zeros(len(row), np.float64)
        parts[target[i]] += up
        parts[y[i]] -= up
        parts[first] -= down
        parts[third] += down / 2
        parts[fourth] += down / 2
        value[i] = lead
        for k in range(len(row)):
            slope[i, k] = parts[k]


@compiled
def squares(
    x: Floats,
    margin: Floats,
    hit: Bools,
    x_best: Floats,
    lowest: Floats,
    faces: Floats,
    key: Wholes,
    t: Ints,
    moves: Ints,
    marks: Ints,
    heights: Ints,
    widths: Ints,
    height: int,
    width: int,
    out: Floats,
    out_best: Floats,
    out_lowest: Floats,
) -> bool:
    """The next candidates of Square in linf, see `fused.squares`; whether a row's best changed."""
    better = hit | (margin < lowest)
    changed = better.any()
    pixels = height * width
    channels = x.shape[1] // pixels
    position = _positions(channels + 2)
    for i in range(x.shape[0]):
        row = x[i] if better[i] else x_best[i]
        out_lowest[i] = margin[i] if better[i] else lowest[i]
        for j in range(x.shape[1]):
            out[i, j] = row[j]
        if changed:
            for j in range(x.shape[1]):
                out_best[i, j] = row[j]
        folded = _mixed(_mixed(key[i] ^ _mixed(np.uint64(t[i] + 1))) ^ _mixed(np.uint64(0)))
        level = 0
        for mark in marks:
            level += moves[i] > mark
        high, wide = heights[level], widths[level]
        # A number is at most 1 - 2^-24, and that times n rounds to less than n.
        up = int(_number(folded, position[channels]) * np.float32(height - high + 1))
        left = int(_number(folded, position[channels + 1]) * np.float32(width - wide + 1))
        for c in range(channels):
            first = c * pixels + up * width + left
            upper = x.shape[1] if _number(folded, position[c]) >= HALF else 0
            for line in range(high):
                for j in range(first + line * width, first + line * width + wide):
                    out[i, j] = faces[i, upper + j]
    return bool(changed)


@compiled
def uniform(key: Wholes, out: Floats) -> None:
    """As `keyed.uniform` of folded keys."""
    position = _positions(out.shape[1])
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = _number(key[i], position[j])
