"""What the audits of runs leave open, and which runs want one; from rows of the runs table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robbench.catalogue.cascades import audited_by

COLUMNS = (
    "audit_attack",
    "n_survivors",
    "n_audited",
    "n_audit_broken",
    "audit_missed_high",
    "robust_accuracy_audited",
)
"""The columns of the runs table that say it, all None of a run without an audit."""


def unaudited(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The cheap cascade of a run that wants an audit, and the full one that audits it.

    None of a run that has an audit or no survivor, and where no cascade among its attacks is a
    cheap one without its full one.
    """
    if row.get("audit_attack") is not None or not row.get("robust_accuracy"):
        return None
    attacks = row["attack"].split(" + ")
    for name in attacks:
        full = audited_by(name)
        if full is not None and full not in attacks:
            return name, full
    return None


def audited_differently(run: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs have audits by other attacks, or only one of them has one.

    A run whose own attack is the other's audit needs none.
    """
    mine, theirs = (each.get("audit_attack") for each in (run, other))
    if mine == theirs:
        return False
    if mine is None or theirs is None:
        whole = run if mine is None else other
        return bool(whole["attack"] != (mine or theirs))
    return True


def how_audited(row: Mapping[str, Any]) -> str:
    """`autoattack on 300`, or `no audit`."""
    attack = row.get("audit_attack")
    return "no audit" if attack is None else f"{attack} on {row['n_audited']:,}"


def remarks(run: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """What their audits leave open about the difference of two runs."""
    said = []
    if audited_differently(run, baseline):
        said.append(f"audited differently: {how_audited(run)} here, {how_audited(baseline)} there")
    here, there = _range(run, baseline), _range(baseline, run)
    if here is None or there is None or run["robust_accuracy"] == baseline["robust_accuracy"]:
        return said
    if here[0] <= there[1] and there[0] <= here[1]:
        said.append(
            "the audits do not show which of the two is more robust: "
            f"{_span(*here)} here, {_span(*there)} there"
        )
    return said


def _range(run: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float] | None:
    """Between what the robust accuracy is under the audit's attack; None where that is unknown."""
    value = run["robust_accuracy"]
    if run.get("robust_accuracy_audited") is not None:
        return run["robust_accuracy_audited"], value
    return (value, value) if other.get("audit_attack") == run["attack"] else None


def _span(low: float, high: float) -> str:
    return f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
