"""How far a plan is, in words: on a bar, with what is certain of its result and the time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from robbench.analysis.forecast import LOOKS, Forecast
from robbench.analysis.so_far import so_far
from robbench.engine.progress import EntryProgress, Left, Work, left
from robbench.reports.terminal.forecast import left_text, rounded, so_far_text
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.listener import Bar


class Progress(NamedTuple):
    """How far a plan is."""

    samples: int  # decided
    total: int
    broken: int  # of those, adversarial at the largest budget
    robust: int  # of those, not adversarial there; the others are unfinished
    share: float  # of all work
    entries: list[EntryProgress]
    work: Work  # of this process


def shown_on(
    bar: Bar,
    plan: AttackPlan,
    forecast: Forecast | None,
    now: Callable[[], float] = time.monotonic,
) -> Callable[[Progress], None]:
    """Shows progress on a bar."""
    began: float | None = None
    expected = None if forecast is None else expected_work(forecast)
    blind = forecast is not None and bool(forecast.unknown) and expected is None
    limit = plan.config.max_time or math.inf

    def watch(found: Progress) -> None:
        nonlocal began
        began = now() if began is None or not found.entries else began
        elapsed = now() - began
        facts = [f"{found.samples}/{found.total} decided"]
        if math.isfinite(plan.threats[-1].eps):
            facts.append(so_far_text(so_far(found.robust, found.broken, found.total)))
        if elapsed > 0 and found.work.queries:
            facts.append(f"{rounded(found.work.queries / elapsed)} queries/s")
        rest = Left(None, None) if blind else left(found.work, elapsed, expected)
        rest = Left(*(None if s is None else max(min(s, limit - elapsed), 0.0) for s in rest))
        ended = found.samples == found.total
        bar.update(found.share, ", ".join(facts), "done" if ended else left_text(rest))
        for entry in found.entries:
            bar.part(entry.spec, entry.left, entry.reached, f"{entry.found} found")

    return watch


def expected_work(forecast: Forecast) -> float | None:
    """Seconds of all attacks as earlier runs needed, in the unit of `step_seconds`."""
    if not forecast.runs:
        return None
    usual = [p.seconds * sum(p.usual) / len(p.usual) for p in forecast.parts if p.name != LOOKS]
    return forecast.samples * sum(usual)


def step_seconds(plan: AttackPlan, forecast: Forecast | None) -> list[float] | None:
    """Seconds of a step of each attack, of another package's as a whole; None: all alike."""
    if forecast is None or not forecast.samples:
        return None
    classes = plan.classes_in_play
    found: list[float] = []
    for entry, part in zip(plan.entries, forecast.parts[1:], strict=True):
        if part.most is not None:
            queries = float(entry.attack.draws * (1 + entry.attack.gradients(classes)))
        else:  # as in earlier runs, or anything
            queries = sum(part.usual) / len(part.usual) if part.usual else 1.0
        found.append(part.seconds * queries)
    return found
