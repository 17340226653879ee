"""The automatic checks after an attack: cheap ones, for a share of its queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robbench.checks.base import run_checks
from robbench.checks.registry import CHECKS
from robbench.core.device import deterministic
from robbench.core.freeze import frozen
from robbench.store.run import Run
from robbench.store.store import Store
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.check.evidence import evidence_of
from robbench.tasks.check.plan import CheckPlan
from robbench.tasks.check.rows import finding_rows
from robbench.threat.model import ThreatModel

AFTER_SLICE = 64
"""Samples that are asked about."""

AFTER_COST = 50
"""Queries per sample that a check may cost."""

AFTER_SHARE = 0.1
"""Of the run's queries, what all checks together may cost."""


def check_after(
    plan: AttackPlan,
    runs: Sequence[Run],
    store: Store,
    *,
    fresh: bool = True,
    kept: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    asked_to_stop: Callable[[], None] = lambda: None,
) -> list[list[dict[str, Any]]]:
    """The automatic checks of the runs of one plan: made where they are fresh, or have none.

    kept: ids of runs that are not fresh.

    They are what rows and points say of each run, and of the largest budget a little more: on
    AFTER_SLICE samples, with the checks that cost AFTER_COST queries per sample at most, as long as
    all of it costs no more than AFTER_SHARE of the run.
    """
    if plan.threats[0].corruption:  # checks are of attacks
        return [[] for _ in runs]
    ids = [run.info["run_id"] for run in runs]
    if not fresh and all(store.has_checks(run_id) for run_id in ids):
        return [store.checks(run_id) for run_id in ids]
    with store.locked(ids, say=say, asked_to_stop=asked_to_stop):
        return [
            _check_after(plan, run, threat, store, last=run is runs[-1])
            if (fresh and run_id not in kept) or not store.has_checks(run_id)
            else store.checks(run_id)
            for run_id, run, threat in zip(ids, runs, plan.threats, strict=True)
        ]


def _check_after(
    plan: AttackPlan, run: Run, threat: ThreatModel, store: Store, *, last: bool
) -> list[dict[str, Any]]:
    path = store.run_path(run.info["run_id"])
    subject = CheckPlan(plan.subject, threat, plan.data, plan.config.seed, run, path)
    allowed = AFTER_SHARE * (run.info["n_forward"] + run.info["n_backward"]) if last else 0
    cheap = [c for c in CHECKS if 0 < c.cost <= AFTER_COST and c.name != "transfer"]
    with frozen(plan.subject.model), deterministic():
        free = run_checks([c for c in CHECKS if not c.cost], evidence_of(subject))
        findings = free + run_checks(cheap, evidence_of(subject, AFTER_SLICE, most=allowed))
    rows = finding_rows(subject, findings, automatic=True)
    store.write_checks(subject.name, rows)
    return rows
