"""Forecasts and progress in words."""

from __future__ import annotations

import math
from collections.abc import Callable

from robbench.analysis.forecast import Forecast, Range
from robbench.analysis.so_far import SoFar
from robbench.engine.progress import Left
from robbench.reports.texts import percent, plural

SHOWN = 3  # attacks whose share of the time is named
SMALL = 0.05  # a share below is not


def forecast_line(found: Forecast) -> str:
    """One line: queries, time and what dominates, as earlier runs needed and at most."""
    if not found.samples:
        return "nothing left to do"
    where = f"on {found.device}"
    most_time = None if found.seconds_at_most is None else duration(found.seconds_at_most)
    shares = ", ".join(
        f"{name} {share:.0%}" for name, share in found.shares()[:SHOWN] if share >= SMALL
    )
    shares = f": {shares}" if shares else ""
    queries, seconds = found.queries, found.seconds
    if queries is not None and seconds is not None:
        source = f"as {plural(len(found.runs), 'earlier run')} of these attacks needed"
        most = f"; at most {most_time}" if most_time else ""
        return (
            f"about {_range(queries, rounded)} queries, {_range(seconds, duration)} {where}{shares}"
            f"{most} ({source})"
        )
    if found.queries_at_most is None:
        limit = f"at most {most_time}, the limit" if most_time else "no forecast"
        return f"{limit}: {', '.join(found.unknown)} of another package does not say what it costs"
    queries_text = f"at most {rounded(found.queries_at_most)} queries in about {most_time}"
    if found.alone:
        return f"{queries_text} for the model alone {where}{shares}"
    why = "no earlier run to estimate from"
    return f"{queries_text} {where}{shares} ({why})"


def left_text(left: Left | None) -> str:
    """`about 40 s left, at most 3 min`."""
    if left is None or (left.about is None and left.at_most is None):
        return "no estimate of the time left"
    if left.about is None:
        return f"at most {duration(left.at_most or 0.0)} left"
    about = duration(left.about)
    more = left.at_most is not None and left.at_most > 1.2 * left.about
    most = f", at most {duration(left.at_most)}" if more and left.at_most is not None else ""
    return f"about {about} left" + (most if not most.endswith(f" {about}") else "")


def so_far_text(found: SoFar) -> str:
    """Robust accuracy while samples are undecided: its bounds, and those of its interval."""
    low, high, least, most = map(percent, found)
    if low == high:
        return f"robust accuracy {high} (95 %: {least} to {most})"
    if not found.low:
        return f"robust accuracy at most {high} (95 %: to {most})"
    return f"robust accuracy {low} to {high} (95 %: {least} to {most})"


def rounded(n: float) -> str:
    """Two significant digits, `310,000`."""
    if n < 10:
        return f"{n:.0f}"
    digits = math.floor(math.log10(n)) - 1
    return f"{round(n, -digits):,.0f}"


def duration(seconds: float) -> str:
    """`12 s`, `6 min`, `2.5 h`: no more digits than a forecast is worth."""
    if seconds < 99.5:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36e3 else f"{seconds / 3600:,.0f} h"


def _range(found: Range, text: Callable[[float], str]) -> str:
    low, mean, high = (text(v) for v in (found.low, found.mean, found.high))
    if low == high:
        return mean
    number, _, unit = low.partition(" ")
    return f"{number if unit and high.endswith(f' {unit}') else low} to {high}"
