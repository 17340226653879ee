"""The content of the JSON object of `robbench gate`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from robbench.analysis.audit_remarks import COLUMNS
from robbench.reports.gate.notes import notes
from robbench.reports.gate.words import sentences

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding


def to_json(finding: GateFinding) -> dict[str, Any]:
    """The content of the command's JSON object; rates are in [0,1]."""
    facts = (
        "run_id",
        "model",
        "data",
        "split",
        "threat",
        "attack",
        "n_samples",
        "status",
        "model_hash",
        *COLUMNS,
    )
    return {
        "verdict": finding.verdict,
        "exit_code": finding.exit_code,
        "baseline": {name: finding.baseline.get(name) for name in facts},
        "candidate": {name: finding.candidate.get(name) for name in facts},
        "against": [info["run_id"] for info in finding.against],
        "samples": finding.seen,
        "samples_of": finding.total,
        "alpha": finding.tolerances.alpha,
        "these_samples": finding.tolerances.these_samples,
        "checks": [dataclasses.asdict(check) for check in finding.checks],
        "messages": sentences(finding),
        "notes": notes(finding),
    }
