"""Hold one run against another, both finished. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robbench.analysis.audit_remarks import audited_differently, how_audited
from robbench.analysis.claims import contradictions
from robbench.analysis.gate import COLUMNS, GateFinding, Note, judge
from robbench.analysis.gate_checks import Tolerances
from robbench.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.store.answers import same_answers
from robbench.store.baseline import find_baseline, one_run
from robbench.store.locations import trained_name
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.schema import DISTANCES
from robbench.store.store import Store

_COLUMNS = tuple(dict.fromkeys((*COLUMNS, *SUMMARY_COLUMNS, *DISTANCES)))


def find_reference(store: Store, name: str | None, branch: str | None) -> tuple[Run, Path]:
    """The baseline, and its runs file: the named run, else that which was set.

    UserError as of `find_baseline`, `read_run`.
    """
    path = find_baseline(store, name, branch)
    return read_run(path, _COLUMNS), path


def gate_runs(
    store: Store,
    baseline: str | None,
    candidate: str,
    tolerances: Tolerances,
    *,
    branch: str | None = None,
) -> GateFinding:
    """Judge a finished run.

    Raises UserError for names that mean no run or several, and runs that must not be compared.
    """
    reference, _ = find_reference(store, baseline, branch)
    run = read_run(one_run(store, candidate), _COLUMNS)
    checks = judge(reference, run, tolerances)
    total = reference.info["n_samples"]
    return GateFinding(
        checks=checks,
        baseline=reference.info,
        candidate=run.info,
        tolerances=tolerances,
        seen=max(c.n for c in checks),
        total=total,
        notes=[
            *remarks(reference.info, run.info),
            *edited("baseline", reference),
            *edited("candidate", run),
            *_trained_since(store, run.info),
        ],
    )


def remarks(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[Note]:
    """Warnings about a pair: equal models, unfinished samples, replays, audits, flags."""
    found = []
    alike = (
        baseline["model_hash"] == candidate["model_hash"]
        and baseline["model_arch"] == candidate["model_arch"]
    )
    if alike and same_answers(baseline["answers"], candidate["answers"], ("made",)):
        found.append(Note("same-weights"))
    for which, info in (("baseline", baseline), ("candidate", candidate)):
        if left := info["n_unfinished"]:
            found.append(Note("unfinished", {"which": which, "n": left}))
        flags = json.loads(info["flags"] or "[]")
        found += [
            Note("flag", {"which": which, **flag}) for flag in flags if flag["name"] != "loaded"
        ]
    mine, theirs = (_replayed(info) for info in (baseline, candidate))
    if mine != theirs:
        tried, other = ("candidate", "baseline") if theirs else ("baseline", "candidate")
        found.append(Note("replayed", {"which": tried, "other": other}))
    if audited_differently(baseline, candidate):
        how = {"baseline": how_audited(baseline), "candidate": how_audited(candidate)}
        found.append(Note("audited-differently", how))
    if math.isfinite(baseline["eps"]) and baseline["seed"] != candidate["seed"]:
        seeds = {"baseline": baseline["seed"], "candidate": candidate["seed"]}
        found.append(Note("seeds", seeds))
    return found


def edited(which: str, run: Run) -> list[Note]:
    """A warning where a run's row contradicts its samples, or these themselves."""
    return [Note("edited", {"which": which, "text": text}) for text in contradictions(run)]


def _trained_since(store: Store, info: Mapping[str, Any]) -> list[Note]:
    name = trained_name(attacked_model(info))
    weights = store.models / name / "model.safetensors"
    if (
        not weights.is_file()
        or datetime.fromtimestamp(weights.stat().st_mtime, UTC).replace(tzinfo=None)
        <= info["finished_at"]
    ):
        return []
    return [Note("trained-since", {"model": name})]


def _replayed(info: Mapping[str, Any]) -> bool:
    try:
        config = json.loads(info["config"])
    except ValueError:
        return False
    return isinstance(config, dict) and bool(config.get("replay"))
