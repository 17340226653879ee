"""The section about the features: their singular values and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.plots.spectrum import clean_measures, singular_values
from robbench.analysis.series import model_names, name_of
from robbench.reports import texts
from robbench.reports.html import figures
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, in_words, number
from robbench.store.run import Run

_MEASURED = {
    "effective_rank": "effective rank of the features",
    "numerical_rank": "numerical rank of the features",
    "n_features_90": "features for 90 % of a logit",
    "feature_margin_median": "feature margin, median",
    "svm_ratio": "feature margin over the SVM's, median pair",
    "calibration_error": "calibration error (ECE)",
}


def spectrum(material: ReportData) -> Section:
    """Singular values of the penultimate features, and ranks, of each model that was measured."""
    names = model_names(material.runs)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in material.runs:
        if rows := clean_measures(material.measures.get(run.info["run_id"], ()), run):
            found.setdefault(name_of(run, names), rows)
    lines = [
        (name, list(names.values()).index(name), values)
        for name, rows in found.items()
        if (values := singular_values(rows))
    ]
    blocks: list[Any] = []
    if lines:
        words = in_words(
            [
                f"{name}: {sum(value > 1e-3 for value in values)} of {len(values)} above a "
                "thousandth of the largest"
                for name, _, values in lines
            ]
        )
        alt = f"Line chart of singular values, falling. {words}."
        blocks.append(Plot("Singular values of the features", alt, figures.spectra(lines)))
    shown = [name for name in _MEASURED if any(name in rows for rows in found.values())]
    cells = [
        [
            Cell(_MEASURED[name]),
            *(number(rows[name]["value"] if name in rows else None) for rows in found.values()),
        ]
        for name in shown
    ]
    if shown:
        blocks.append(
            Table(
                "Measures on clean samples",
                [Head("measure", number=False), *map(Head, found)],
                cells,
            )
        )
    return Section("spectrum", "Feature spectrum", blocks, runs=_ids(material.runs))


def _ids(runs: Sequence[Run]) -> str:
    """Run ids for a command line, the first few."""
    ids = [run.info["run_id"] for run in runs]
    return " ".join(ids[:4]) + (" ..." if len(ids) > 4 else "") if ids else texts.NOTHING
