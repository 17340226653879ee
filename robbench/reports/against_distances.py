"""The words for measures that compare logit margins, or an attack, with input margins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robbench.reports import texts

AGAINST_DISTANCES = {
    "margin_consistency": "tau, clean margin",
    "brittle_auroc": "AUROC, brittle inputs",
    "brittle_fpr95": "  FPR at 95 % found",
    "optimality": "optimality",
}
"""By measure (without its norm), in the order they are shown."""


def what_it_is_of(detail: Mapping[str, Any]) -> str:
    """The samples and runs behind such a measure, or why it has no value."""
    if reason := detail.get("reason"):
        return str(reason)
    if {"compared", "other_runs"} <= detail.keys():
        return f"{detail['compared']} samples, {texts.plural(detail['other_runs'], 'other run')}"
    if {"brittle", "robust"} <= detail.keys():
        return f"{detail['brittle']} brittle, {detail['robust']} robust"
    if {"used", "left_out"} <= detail.keys():
        return f"{detail['used']} samples, {detail['left_out']} left out"
    return ""
