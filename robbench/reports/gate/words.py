"""A gate's verdict in words and numbers, for every form it is shown in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robbench.analysis.gate_checks import DISTANCE, MARGIN, GateCheck
from robbench.reports import texts
from robbench.reports.texts import NOTHING

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding

HEADLINES = {"pass": "pass", "regression": "regression", "undecided": "not enough evidence"}


def sentences(finding: GateFinding) -> list[str]:
    """What the verdict rests on: a sentence for each check that must be passed, or that failed."""
    judged = [check for check in finding.checks if check.decision != "not shown"]
    if finding.verdict != "pass":
        judged = [check for check in judged if check.decision == finding.verdict]
    if finding.against and judged:
        return _largest(judged)
    return [sentence(check) for check in judged] or ["no sample was decided in time"]


def _largest(checks: Sequence[GateCheck]) -> list[str]:
    """Of checks against several runs the one with the largest drop, and how many say the same."""
    worst = max(checks, key=lambda check: check.drop)
    more = len(checks) - 1
    return [sentence(worst), *([f"{more} more of these checks say the same"] if more else [])]


def sentence(check: GateCheck) -> str:
    """One check in words, rates in percentage points."""
    name = (
        f"robust accuracy of {check.metric}" if check.metric.startswith("class ") else named(check)
    )
    moved = "fell" if check.drop > 0 else "rose" if check.drop < 0 else "did not change"
    size = f" by {_amount(check, abs(check.drop))}" if check.drop else ""
    change = (
        f"{name} {moved}{size} ({_value(check, check.baseline)} to "
        f"{_value(check, check.candidate)}, {check.n} samples)"
    )
    allowed = "" if check.tolerance is None else f"{_amount(check, check.tolerance)} tolerated"
    if check.method == "these samples" or check.tolerance is None:
        return f"{change}{'; ' if allowed else ''}{allowed}"
    if check.decision == "regression":
        return f"{change}: a drop of at least {_amount(check, check.low)} is shown, {allowed}"
    if check.decision == "pass":
        most = f"a drop above {_amount(check, max(check.high, 0.0))} is ruled out"
        return f"{change}: {most}, {allowed}"
    between = (
        f"{change}: the drop is between {_signed(check, check.low)} and "
        f"{_signed(check, check.high)}, {allowed}"
    )
    if check.decision == "not shown":
        return between
    if check.needed is None and not math.isfinite(check.high - check.low):
        return f"{between}; of so many samples no perturbation was found that there is no telling"
    if check.needed is None:
        return f"{between}; too near to what is tolerated for any number of samples to tell"
    about = "about" if math.isfinite(check.low) else "at least"  # too few for an interval
    return f"{between}; {about} {_rounded(check.needed)} samples are needed"


def heading(finding: GateFinding) -> str:
    """Which run against which, on what."""
    info, other = finding.baseline, finding.candidate
    of = "" if finding.seen == finding.total else f" of {finding.total}"
    where = (
        f"{info['data']} {info['split']}, {info['threat']}, {info['attack']}, "
        f"{finding.seen}{of} samples"
    )
    against = f"{info['model']} ({info['run_id'][:6]})"
    if finding.against:
        since = f"{info['started_at']:%Y-%m-%d}"
        against = f"each of {len(finding.against)} runs of {info['model']} since {since}"
    return f"{other['model']} ({other['run_id'][:6]}) against {against}: {where}"


def named(check: GateCheck) -> str:
    """Its metric, and since which run."""
    return f"{check.metric} since {check.since}" if check.since else check.metric


def check_cells(check: GateCheck) -> list[str]:
    """The cells of a row but the last: metric, baseline, candidate, drop, tolerated."""
    exact = check.low == check.high
    bounds = "" if exact else f" ({_signed(check, check.low)} to {_signed(check, check.high)})"
    tolerated = NOTHING if check.tolerance is None else _amount(check, check.tolerance, unit=False)
    values = [_value(check, check.baseline), _value(check, check.candidate)]
    return [named(check), *values, f"{_signed(check, check.drop)}{bounds}", tolerated]


def decision_text(check: GateCheck) -> str:
    """The last cell of that row."""
    if check.decision == "not shown":
        return NOTHING if check.tolerance is None else "no regression"
    return check.decision


def confidence(finding: GateFinding) -> str:
    """Of the bounds, in percent."""
    return f"{100 * (1 - finding.tolerances.alpha):g} %"


def _is_rate(check: GateCheck) -> bool:
    return check.metric not in (MARGIN, DISTANCE)


def _value(check: GateCheck, value: float) -> str:
    return texts.percent(value) if _is_rate(check) else _number(value)


def _amount(check: GateCheck, value: float, unit: bool = True) -> str:
    return f"{_points(value)}{' points' if unit else ''}" if _is_rate(check) else _number(value)


def _signed(check: GateCheck, value: float) -> str:
    text = _amount(check, abs(value), unit=False)
    return (
        text
        if not float(text.replace("inf", "1").replace("nan", "0"))
        else f"{'-' if value < 0 else '+'}{text}"
    )


def _points(rate: float) -> str:
    return f"{100 * rate:.1f}" if 100 * rate >= 0.95 or rate == 0 else f"{100 * rate:.2f}"


def _number(value: float) -> str:
    return texts.digits(value) if math.isfinite(value) else str(value)


def _rounded(count: int) -> str:
    """Two digits are all such a number is worth, upwards."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return f"{-(-count // step) * step:,}"
