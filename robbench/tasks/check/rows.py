"""Findings as rows of the checks table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from robbench.checks.base import Finding
from robbench.tasks.check.plan import CheckPlan


def finding_rows(
    plan: CheckPlan, findings: Sequence[Finding], *, automatic: bool
) -> list[dict[str, Any]]:
    """A row per finding. automatic: it came with an attack."""
    common = {
        "subject": plan.name,
        "run_id": plan.run.info["run_id"] if plan.run else None,
        "model": plan.run.info["model"] if plan.run else plan.subject.label,
        "checked_at": datetime.now(UTC).replace(tzinfo=None),
        "model_hash": plan.subject.hash,
        "data": plan.data,
        "split": plan.subject.split.split,
        "threat": plan.threat.text,
        "automatic": automatic,
    }
    rows = [{**common, **dataclasses.asdict(f), "evidence": list(f.evidence)} for f in findings]
    for row in rows:
        row |= {
            name: None if math.isnan(row[name]) else float(row[name])
            for name in ("figure", "threshold")
        }
    return rows
