"""How far a plan is, in words: on a bar, with what is certain of its result and the time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from robbench.analysis.forecast import AUDIT, LOOKS, Forecast
from robbench.analysis.so_far import so_far
from robbench.engine.progress import EntryProgress, Left, Work, left
from robbench.reports.terminal.forecast import left_text, rounded, so_far_text
from robbench.tasks.attack.bounds import queries_of_entries
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
    later, part = audit_seconds(plan, forecast), audit_share(plan)

    def watch(found: Progress) -> None:
        nonlocal began
        waiting = not (found.entries or found.work.queries)  # a corruption has no entries
        began = now() if began is None or waiting else began
        elapsed = now() - began
        facts = [f"{found.samples}/{found.total} decided"]
        if math.isfinite(plan.threats[-1].eps):
            facts.append(so_far_text(so_far(found.robust, found.broken, found.total)))
        if elapsed > 0 and found.work.queries:
            facts.append(f"{rounded(found.work.queries / elapsed)} queries/s")
        rest = Left(None, None) if blind else left(found.work, elapsed, expected)
        rest = Left(
            *(
                None if s is None else max(min(s + audit, limit - elapsed), 0.0)
                for s, audit in zip(rest, later, strict=True)
            )
        )
        ended = found.samples == found.total and plan.audit is None
        share = found.share * (1 - part)
        bar.update(share, ", ".join(facts), "done" if ended else left_text(rest))
        for entry in found.entries:
            bar.part(entry.spec, entry.left, entry.reached, f"{entry.found} found")

    return watch


def audit_shown_on(
    bar: Bar,
    plan: AttackPlan,
    now: Callable[[], float] = time.monotonic,
) -> Callable[[tuple[int, int, int], float, Sequence[EntryProgress], Work], None]:
    """Shows the progress of an audit on a bar, after that of the run's own attacks.

    It is called with the samples drawn, audited and broken, the share of the audit's work, its
    attacks and its work.
    """
    began, part = now(), audit_share(plan)

    def watch(
        counts: tuple[int, int, int], share: float, entries: Sequence[EntryProgress], work: Work
    ) -> None:
        drawn, done, broken = counts
        rest = left(work, now() - began)
        text = f"{done}/{drawn} audited, {broken} of them broken"
        bar.update(1 - part + part * share, text, "done" if done == drawn else left_text(rest))
        for entry in entries:
            bar.part(f"{AUDIT}{entry.spec}", entry.left, entry.reached, f"{entry.found} found")

    return watch


def audit_share(plan: AttackPlan) -> float:
    """The audit's share of all queries at most, 0 without one; a half where that is not known."""
    if plan.audit is None:
        return 0.0
    classes, size = plan.classes_in_play, len(plan.subject.split)
    own, audit = (queries_of_entries(some, classes) for some in (plan.entries, plan.audit.entries))
    if None in own or None in audit:
        return 0.5
    later = min(plan.audit.size, size) * sum(filter(None, audit))
    return later / (later + size * sum(filter(None, own)))


def audit_seconds(plan: AttackPlan, forecast: Forecast | None) -> tuple[float, float]:
    """The time of the audit to come, about and at most: what is left mostly withstands it too."""
    if forecast is None or plan.audit is None:
        return 0.0, 0.0
    parts = [p for p in forecast.parts if p.name.startswith(AUDIT)]
    most = forecast.samples * sum((p.most or 0.0) * p.seconds for p in parts)
    size = len(plan.subject.split)
    return most * (min(plan.audit.size / size, 1.0) if plan.audit.adaptive else 1.0), most


def expected_work(forecast: Forecast) -> float | None:
    """Seconds of the run's own attacks as earlier runs needed, in the unit of `step_seconds`."""
    if not forecast.runs:
        return None
    own = [p for p in forecast.parts if p.name != LOOKS and not p.name.startswith(AUDIT)]
    usual = [p.seconds * sum(p.usual) / len(p.usual) for p in own]
    return forecast.samples * sum(usual)


def step_seconds(plan: AttackPlan, forecast: Forecast | None) -> list[float] | None:
    """Seconds of a step of each attack, of another package's as a whole; None: all alike."""
    if forecast is None or not forecast.samples:
        return None
    classes = plan.classes_in_play
    found: list[float] = []
    for entry, part in zip(plan.all_entries, forecast.parts[1:], strict=True):
        if part.most is not None:
            queries = float(entry.attack.draws * (1 + entry.attack.gradients(classes)))
        else:  # as in earlier runs, or anything
            queries = sum(part.usual) / len(part.usual) if part.usual else 1.0
        found.append(part.seconds * queries)
    return found
