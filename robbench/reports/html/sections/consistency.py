"""The table of what compares logit margins, and the attack, with input margins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.series import model_names, name_of
from robbench.reports import texts
from robbench.reports.against_distances import AGAINST_DISTANCES, what_it_is_of
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Head, Table

_MEANINGS = {
    "margin_consistency": "Kendall's tau-b of clean logit margin and input margin; 0 is chance",
    "brittle_auroc": "chance that a sample that falls has the smaller clean logit margin; 0.5 is "
    "chance",
    "brittle_fpr95": "share of the others flagged by the margin that finds 95 % of those that fall",
    "optimality": "how near the attack comes to the smallest perturbations known, 1 = none is "
    "smaller",
}


def beside_input_margins(material: ReportData) -> Table | None:
    """A row per measured run and norm, with what each number is of; None where there is none."""
    names, rows = model_names(material.shown), []
    for run in material.shown:
        for norm, found in _by_norm(material.measures.get(run.info["run_id"], ())).items():
            cells = [_cell(name, found.get(name)) for name in AGAINST_DISTANCES]
            title = f"{texts.threat(run.info['threat'])}, margins in {norm}"
            rows.append([Cell(name_of(run, names), small=title), *cells])
    heads = [
        Head("model", number=False),
        *(Head(text.strip(), _MEANINGS[name]) for name, text in AGAINST_DISTANCES.items()),
    ]
    return Table("Logit margins and attacks beside input margins", heads, rows) if rows else None


def _by_norm(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Value and detail by norm and measure (without its norm)."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        detail = json.loads(row["detail"] or "{}")
        name = row["name"].removesuffix(f"_{detail.get('norm')}")
        if name in AGAINST_DISTANCES:
            of_norm = found.setdefault(detail.get("norm", ""), {})
            of_norm[name] = {"value": row["value"], "detail": detail}
    return found


def _cell(name: str, found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return Cell(texts.NOTHING)
    value, detail = found["value"], found["detail"]
    text = texts.percent(value) if name == "brittle_fpr95" else texts.digits(value)
    ends = [texts.digits(detail[end]) for end in ("low", "high") if detail.get(end) is not None]
    return Cell(
        text, value, small=", ".join(filter(None, [" to ".join(ends), what_it_is_of(detail)]))
    )
