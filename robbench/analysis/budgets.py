"""The budgets that one attack went through: its samples' queries are those of all up to theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robbench.core.corruptions import is_corruption
from robbench.core.spec import parse_number
from robbench.core.threat_text import ThreatText, split_threat

_DECIDES_NOTHING = ("threat", "name", "tag", "measure", "batch_size")


def curve(info: Mapping[str, Any]) -> list[ThreatText]:
    """The threat models of a run's norm that its command had, as they were written.

    info: its row of the runs table. None of a corruption, which is alone at each severity, nor
    where the command named none.
    """
    given = json.loads(info.get("config") or "{}").get("threat")
    if is_corruption(info["norm"]) or not isinstance(given, list):
        return []
    threats = [split_threat(str(text)) for text in given]
    return [threat for threat in threats if threat.norm.strip().lower() == info["norm"]]


def smaller_budgets(info: Mapping[str, Any]) -> list[str]:
    """The smaller budgets of a run's security curve, as they were written; none where it was alone.

    info: its row of the runs table. A sample was attacked at these first, so its queries are in it.
    """
    found = [each.strip() for threat in curve(info) for each in threat.budget.split(",")]
    return [budget for budget in found if _eps(budget) < info["eps"]]


def way(info: Mapping[str, Any]) -> list[float]:
    """The budgets that a run's samples went through, ascending: the smaller ones, then its own."""
    smaller = sorted(_eps(budget) for budget in smaller_budgets(info))
    return [round(eps, 9) for eps in (*smaller, info["eps"])]


def settings_beside_budgets(info: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run but for its budgets, and for what decides no verdict."""
    given: dict[str, Any] = json.loads(info["config"])
    return {name: value for name, value in given.items() if name not in _DECIDES_NOTHING}


def _eps(budget: str) -> float:
    """Inf for what is no number, as in a file that was edited."""
    try:
        return float(parse_number(budget))
    except ValueError:
        return float("inf")
