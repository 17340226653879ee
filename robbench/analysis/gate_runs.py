"""Hold one run against another, both finished. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robbench.analysis.claims import contradictions
from robbench.analysis.gate import COLUMNS, GateFinding, judge
from robbench.analysis.gate_checks import Tolerances
from robbench.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.store.answers import same_answers
from robbench.store.baseline import find_baseline, one_run
from robbench.store.locations import trained_name
from robbench.store.run import Run, read_run
from robbench.store.store import Store

_DISTANCES = ("dist_linf", "dist_l2", "dist_l1", "dist_l0")
_COLUMNS = tuple(dict.fromkeys((*COLUMNS, *SUMMARY_COLUMNS, *_DISTANCES)))


def find_reference(store: Store, name: str | None) -> tuple[Run, Path]:
    """The baseline, and its runs file: the named run, else that which was set.

    UserError as of `find_baseline`, `read_run`.
    """
    path = find_baseline(store, name)
    return read_run(path, _COLUMNS), path


def gate_runs(
    store: Store, baseline: str | None, candidate: str, tolerances: Tolerances
) -> GateFinding:
    """Judge a finished run.

    Raises UserError for names that mean no run or several, and runs that must not be compared.
    """
    reference, _ = find_reference(store, baseline)
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
            *(f"baseline: {text}" for text in contradictions(reference)),
            *(f"candidate: {text}" for text in contradictions(run)),
            *_trained_since(store, run.info),
        ],
    )


def remarks(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """Warnings about a pair: equal models, unfinished samples, points tried on one, flags."""
    found = []
    alike = (
        baseline["model_hash"] == candidate["model_hash"]
        and baseline["model_arch"] == candidate["model_arch"]
    )
    if alike and same_answers(baseline["answers"], candidate["answers"], ("made",)):
        found.append("both runs are of the same weights")
    for what, info in (("baseline", baseline), ("candidate", candidate)):
        if left := info["n_unfinished"]:
            found.append(
                f"time or queries ran out on {left} samples of the {what}, which count as robust"
            )
        found += [
            f"{what}: {flag['name']}: {flag['text']}" for flag in json.loads(info["flags"] or "[]")
        ]
    mine, theirs = (_replayed(info) for info in (baseline, candidate))
    if mine != theirs:
        tried, other = ("candidate", "baseline") if theirs else ("baseline", "candidate")
        found.append(f"the {tried} was tried with stored points first, the {other} was not")
    if math.isfinite(baseline["eps"]) and baseline["seed"] != candidate["seed"]:
        found.append(f"the attacks' seeds differ: {baseline['seed']} and {candidate['seed']}")
    return found


def _trained_since(store: Store, info: Mapping[str, Any]) -> list[str]:
    name = trained_name(info["model"])
    weights = store.models / name / "model.safetensors"
    if (
        not weights.is_file()
        or datetime.fromtimestamp(weights.stat().st_mtime, UTC).replace(tzinfo=None)
        <= info["finished_at"]
    ):
        return []
    return [
        f"model {name} was trained again after this run, which is of other weights: give it as "
        "--model, or attack it again"
    ]


def _replayed(info: Mapping[str, Any]) -> bool:
    try:
        config = json.loads(info["config"])
    except ValueError:
        return False
    return isinstance(config, dict) and bool(config.get("replay"))
