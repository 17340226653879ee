"""The budgets that one attack went through: its samples' queries are those of all up to theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robbench.core.corruptions import is_corruption
from robbench.core.spec import parse_number
from robbench.core.threat_text import split_threat


def smaller_budgets(info: Mapping[str, Any]) -> list[str]:
    """The smaller budgets of a run's security curve, as they were written; none where it was alone.

    info: its row of the runs table. A sample was attacked at these first, so its queries are in it.
    A corruption is alone at each severity.
    """
    if is_corruption(info["norm"]):
        return []
    given = json.loads(info["config"]).get("threat")
    found = []
    for text in given if isinstance(given, list) else []:
        threat = split_threat(str(text))
        if threat.norm.strip().lower() == info["norm"]:
            found += [each.strip() for each in threat.budget.split(",")]
    return [budget for budget in found if _eps(budget) < info["eps"]]


def _eps(budget: str) -> float:
    """Inf for what is no number, as in a file that was edited."""
    try:
        return float(parse_number(budget))
    except ValueError:
        return float("inf")
