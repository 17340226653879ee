"""Arguments that Python does not check: whole numbers, numbers, limits of time, texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from robbench.core.errors import UserError
from robbench.core.limits import time_text

MOST = 999_999_999
LAST_SEED = 2**32 - 1


def whole(name: str, value: Any, least: int = 0, most: int = MOST) -> int:
    """A whole number, of Python or NumPy. Raises UserError for another, and out of its range."""
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or not least <= int(value) <= most:
        raise UserError(f"{name} should be a whole number from {least} to {most}, not {value!r}")
    return int(value)


def optional_whole(name: str, value: Any, least: int = 0, most: int = MOST) -> int | None:
    """As `whole`, or None."""
    return None if value is None else whole(name, value, least, most)


def number(name: str, value: Any) -> float:
    """A number, of Python or NumPy. Raises UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name} should be a number, not {value!r}")
    return float(value)


def optional_number(name: str, value: Any) -> float | None:
    """As `number`, or None."""
    return None if value is None else number(name, value)


def seconds(limit: Any) -> str | None:
    """A limit of time as a text; a number is of seconds. Others are left to who reads the text."""
    if isinstance(limit, bool) or not isinstance(limit, Real) or not math.isfinite(limit):
        return None if limit is None else str(limit)
    return time_text(float(limit))


def texts(what: str, given: Any, instead: str = "") -> list[str]:
    """One text or several as a list. UserError, which ends with `instead`, for anything else."""
    found = several(given) if isinstance(given, Iterable) else [given]
    for one in found:
        if not isinstance(one, str):
            odd = one if isinstance(given, list | tuple) else given
            raise UserError(f"give {what}, not {type(odd).__name__}{instead}")
    return found


def several(given: str | Iterable[Any]) -> list[Any]:
    """One text or several things as a list."""
    return [given] if isinstance(given, str) else list(given)
