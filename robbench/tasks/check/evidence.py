"""What a plan has for the checks to look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from robbench.checks.evidence import Evidence
from robbench.data.base import Split
from robbench.store.locations import sibling_table
from robbench.store.run import read_points
from robbench.tasks.attack.points import decode_raw
from robbench.tasks.check.plan import CheckPlan


def evidence_of(plan: CheckPlan, limit: int | None = None, most: float = math.inf) -> Evidence:
    """The first samples with their stored points.

    Without a limit all samples, for the checks that need no points.
    """
    split, size = plan.subject.split, len(plan.subject.split)
    split = split.take(
        torch.arange(size if limit is None else min(limit, size), device=split.labels.device)
    )
    points = _points(plan, split) if limit is not None else None
    rows = None
    if plan.run is not None:
        known = {row["sample_id"]: row for row in plan.run.samples.to_pylist()}
        rows = [known[sample] for sample in split.ids.tolist()]
    return Evidence(
        plan.subject.model,
        split,
        plan.threat,
        seed=plan.seed,
        rows=rows,
        info=plan.run.info if plan.run else None,
        points=points,
        source=plan.source,
        most=most,
    )


def _points(plan: CheckPlan, split: Split) -> dict[int, Tensor] | None:
    """The worst points of some of a run's samples, as they are stored; None when it kept none."""
    stored: Iterable[Mapping[str, Any]] | None = plan.points
    if plan.path is not None and sibling_table(plan.path, "points").exists():
        stored = read_points(plan.path)
    if stored is None:
        return None
    clean = dict(zip(split.ids.tolist(), split.pixels(slice(None)), strict=True))
    return {
        row["sample_id"]: decode_raw(row, clean[row["sample_id"]])
        for row in stored
        if row["sample_id"] in clean
    }
