"""Limits that end an attack early: of time, or of queries of each sample."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from typing import Any

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True)
class Limits:
    """`seconds` of a run, `queries` (forwards) of a sample; None for no limit."""

    seconds: float | None = None
    queries: int | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.queries is not None

    def __str__(self) -> str:
        time = [] if self.seconds is None else [time_text(self.seconds)]
        queries = [] if self.queries is None else [f"{self.queries} queries"]
        return ", ".join(time + queries) or "none"


def time_text(seconds: float) -> str:
    """`120.0` -> `120s`: without an exponent, and `parse_time` reads the very same number."""
    return f"{Decimal(repr(seconds)).normalize():f}s"


def parse_time(value: Any) -> float | None:
    """`90s`, `2m`, `1.5h` -> seconds; `none` -> None. Raises ValueError for anything else."""
    if value is None or value == "none":
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smh])", str(value).strip().lower())
    amount = float(match[1]) if match else 0.0
    if match is None or not 0 < amount < 1e12:
        raise ValueError("should be a time such as 90s, 2m or 1h, or none")
    return amount * _UNITS[match[2]]


def parse_queries(value: Any) -> int | None:
    """`5000` -> 5000; `none` -> None. Raises ValueError for what is no whole number above 0."""
    if value is None or value == "none":
        return None
    text = str(value).strip()
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) < 1:
        raise ValueError("should be a number of queries per sample such as 5000, or none")
    return int(text)
