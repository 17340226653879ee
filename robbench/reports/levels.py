"""Sizes in levels of 8-bit images: linf budgets as k/255, on axes and in captions."""

from __future__ import annotations

import math
from collections.abc import Iterable

_STEPS = (1, 2, 4, 8, 16, 32, 64)


def in_levels(norm: str, budgets: Iterable[float]) -> bool:
    """Whether sizes in this norm are best read as k/255: linf, and every finite budget is one."""
    finite = [eps for eps in budgets if math.isfinite(eps)]
    return norm == "linf" and all(
        math.isclose(255 * eps, round(255 * eps), abs_tol=1e-4) for eps in finite
    )


def level(eps: float) -> str:
    """`8/255` of 0.0314, `3.71/255` of what is no whole level."""
    return f"{255 * eps:.3g}/255" if eps else "0"


def level_ticks(end: float) -> list[int]:
    """At most seven levels k from 0 to `end`, multiples of a power of two: ticks at k/255."""
    last = int(255 * min(end, 1.0) + 1e-3)
    step = next(step for step in _STEPS if last <= 6 * step)
    return list(range(0, last + 1, step))
