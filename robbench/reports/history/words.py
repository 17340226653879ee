"""Histories in words and numbers, for every form they are shown in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.history import DISTANCE, History, Shift, Step
from robbench.core.corruptions import PREFIX
from robbench.reports import corrupted, texts
from robbench.reports.texts import NOTHING

_SHA, _ID = 7, 6
"""Digits of a commit, and of a run id or a hash of weights."""
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-'^"
"""The signs of a sparkline, rising."""


def heading(found: History) -> str:
    """Which runs, and what is shown of them."""
    info = found.info
    if found.threats:
        under = corrupted.count({"threats": found.threats})
        return f"{info['model']}: {measure(found)}, {info['data']} {info['split']}, {under}"
    where = f"{info['data']} {info['split']}, {texts.threat(info['threat'])}, {info['attack']}"
    return f"{info['model']}: {measure(found)}, {where}"


def measure(found: History) -> str:
    """The measure in words, of runs with a target that of it."""
    if found.threats:
        return "mean accuracy"
    if found.measure == "robust_accuracy":
        return texts.rates(found.info)[0]
    return found.measure.replace("_", " ")


def value(found: History, number: float | None, *, signed: bool = False) -> str:
    """A value, or a change of it: rates in percent or points, distances as they are."""
    if number is None or math.isnan(number):
        return NOTHING
    if found.measure != DISTANCE:
        return texts.points(number, signed=signed)
    return f"{number:{'+' if signed else ''}z.3g}"


def interval(found: History, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """`56.9-69.6`, of changes `-6.5 to +0.8`; a dash where an end is not known."""
    ends = [value(found, end, signed=signed) for end in (low, high)]
    return NOTHING if NOTHING in ends else (" to " if signed else "-").join(ends)


def worst(found: History, step: Step) -> str:
    """The lowest value of a mean over corruptions, and where."""
    if step.worst is None:
        return NOTHING
    return f"{value(found, step.worst[0])} {step.worst[1].removeprefix(PREFIX)}"


def run_id(info: Mapping[str, Any]) -> str:
    """The start of a run id."""
    return str(info["run_id"])[:_ID]


def dates(found: History) -> list[str]:
    """When each run was begun, UTC; with the time where two were on one day."""
    days = [_day(step.info) for step in found.steps]
    if len(set(days)) == len(days):
        return days
    return [f"{step.info['started_at']:%Y-%m-%d %H:%M}" for step in found.steps]


def commit(info: Mapping[str, Any]) -> str:
    """The start of the commit of the folder a run was started in; `+`: with changed files."""
    sha = info["git_sha"]
    return NOTHING if sha is None else f"{sha[:_SHA]}{'+' if info['git_dirty'] else ''}"


def weights(info: Mapping[str, Any]) -> str:
    """The start of the hash of a run's weights."""
    return str(info["model_hash"])[:_ID]


def shift_text(found: History, shift: Shift) -> str:
    """A change point in a sentence."""
    unit = "" if found.measure == DISTANCE else " points"
    moved = value(found, shift.after - shift.before, signed=True)
    wide = shift.last - shift.first > 1
    first, last = (_named(found, i) for i in (shift.first, shift.last))
    return (
        f"change point at {_named(found, shift.run)}: {value(found, shift.before)} before, "
        f"{value(found, shift.after)} after ({moved}{unit}, {texts.p_value(shift.p)})"
        f"{f'; it is after {first}, at {last} at the latest' if wide else ''}"
        f"{_not_the_model(found, shift.run)}"
    )


def _not_the_model(found: History, run: int) -> str:
    """What else than the model may have changed at a run."""
    before, after = (found.steps[i].info for i in (run - 1, run))
    said = ""
    if before["model_hash"] == after["model_hash"]:
        said += "; the weights before and after are the same"
    if (old := before["robbench_version"]) != (new := after["robbench_version"]):
        said += f"; robbench {old} before, {new} after"
    return said


def notes(found: History) -> list[str]:
    """What to know of a history: its change points or that there is none, and what is left out."""
    said = [shift_text(found, shift) for shift in found.shifts]
    if found.threats:
        said = [f"one by itself, with its change points: --where threat={found.threats[0]}"]
    elif not said and len(found.steps) > 1:
        said = [f"no change point on the {found.joint} samples that all these runs have"]
    if found.older:
        how = f"robbench history {found.info['model']} --last all"
        said.append(f"{found.older} earlier runs are left out: {how} shows them")
    if found.differs:
        said.append(f"apart, as these runs differ from the first in {'; '.join(found.differs)}")
    return said


def sparkline(found: History, signs: str = ASCII) -> str:
    """The values from the lowest to the highest sign; `|` before a run with a change point."""
    values = [step.value for step in found.steps]
    known = [one for one in values if math.isfinite(one)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    changed = {shift.run for shift in found.shifts}
    drawn = [
        f"{'|' if i in changed else ''}{_sign(one, low, high, signs)}"
        for i, one in enumerate(values)
    ]
    return "".join(drawn)


def _sign(one: float, low: float, high: float, signs: Sequence[str]) -> str:
    if one > high or high == low:  # infinite, or all alike
        return signs[-1] if one > high else signs[len(signs) // 2]
    return signs[min(int((one - low) / (high - low) * len(signs)), len(signs) - 1)]


def _named(found: History, run: int) -> str:
    info = found.steps[run].info
    known = f", {commit(info)}" if info["git_sha"] else ""
    return f"{run_id(info)} ({_day(info)}{known})"


def _day(info: Mapping[str, Any]) -> str:
    return f"{info['started_at']:%Y-%m-%d}"
