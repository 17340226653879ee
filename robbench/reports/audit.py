"""What the audit of a cheap verdict shows, in words: one wording for every form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.audit_remarks import unaudited
from robbench.analysis.audited import percent_up
from robbench.reports import texts

AT_LEAST = (
    "At least: robust accuracy under the audit's attacks is not lower (95 %, one-sided, exact)."
)


def audit(row: Mapping[str, Any]) -> str:
    """What the audit of a run shows, or that it wants one; empty where neither is the case.

    `row` is of the runs table or of `compare`.
    """
    return shown(row) or wanted(row)


def wanted(row: Mapping[str, Any]) -> str:
    """That a run of a cheap cascade wants an audit; empty of every other."""
    if (cheap := unaudited(row)) is None:
        return ""
    return f"not audited: {_doubt(*cheap)}"


def shown(row: Mapping[str, Any]) -> str:
    """What the audit of a run shows; empty without one, and over training seeds."""
    if row.get("audit_attack") is None or row.get("n_seeds"):
        return ""
    if not row["n_audited"]:
        return "audit: no sample was left to attack"
    n, broken, left = row["n_audited"], row["n_audit_broken"], row["n_survivors"]
    whole = n == left
    drawn = f"all {n:,}" if whole else f"{n:,}" if left is None else f"{n:,} of {left:,}"
    said = f"{row['audit_attack']} on {drawn} survivors"
    said += f" broke {broken:,}" + (", which count as adversarial" if broken else "")
    if whole or row["audit_missed_high"] is None:
        return f"audit: {said}"
    said += f"; it would break at most {percent_up(row['audit_missed_high'])} of all of them (95 %)"
    if row["robust_accuracy_audited"] is None:  # without a budget
        return f"audit: {said}"
    return f"audit: {said}: {texts.rates(row)[0]} at least {at_least(row)}"


def at_least(row: Mapping[str, Any]) -> str:
    """The robust accuracy that the audit leaves, rounded down; `-` without one."""
    value = row["robust_accuracy_audited"]
    return texts.percent(None if value is None else math.floor(round(1000 * value, 6)) / 1000)


def of_a_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of a comparison has to know of audits: what the bound is, who has none."""
    return [*([AT_LEAST] if any(map(has_bound, rows)) else []), *without(rows)]


def without(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each cheap cascade, with the runs that have no audit of it."""
    said = []
    wanting: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if cheap := unaudited(row):
            wanting.setdefault(cheap, []).append(str(row["model"]))
    for cheap, models in wanting.items():
        who = ", ".join(dict.fromkeys(models))
        said.append(f"Not audited: {who}; {_doubt(*cheap)}.")
    return said


def _doubt(name: str, full: str) -> str:
    return f"{full} may break more than {name}; --audit 300 bounds how much"


def has_bound(row: Mapping[str, Any]) -> bool:
    """Whether a row has the bound that an audit gives."""
    return row.get("robust_accuracy_audited") is not None
