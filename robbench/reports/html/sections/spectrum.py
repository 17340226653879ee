"""The section about the features: their singular values and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.analysis.commands import about_runs
from robbench.analysis.plots.spectrum import clean_measures, singular_values
from robbench.analysis.series import model_names, name_of
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import lines as figures
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, count, in_words, number
from robbench.store.run import from_memory

_SHARES = (10, 100, 1000)
_MEASURED = {
    "effective_rank": ("effective rank", "exponential of the entropy of the singular values"),
    "numerical_rank": ("numerical rank", "singular values that are not rounding"),
    "n_features_90": ("features for 90 % of a logit", "how many carry most of the true class"),
    "feature_margin_median": (
        "feature margin, median",
        "distance of the features to the last layer's nearest boundary; negative is wrong",
    ),
    "svm_ratio": (
        "share of the largest feature margin",
        "smallest margin of a pair of classes over that of a support vector machine on the same "
        "features, the largest there can be: 1 is as far apart as possible, negative means that "
        "the last layer gets a sample of the pair wrong; median over pairs",
    ),
    "calibration_error": (
        "calibration error",
        "mean gap between confidence and accuracy, ECE in [0,1]",
    ),
}
"""By measure: its name here, and what it means."""


def spectrum(material: ReportData) -> Section:
    """Singular values of the penultimate features, and ranks, of each model that was measured."""
    names = model_names(material.shown)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in material.shown:
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
        title = "Singular values of the features"
        blocks.append(Plot(title, alt, figures.spectra(lines), data=_directions(lines)))
    shown = [name for name in _MEASURED if any(name in rows for rows in found.values())]
    cells = [
        [
            Cell(_MEASURED[name][0], small=_MEASURED[name][1]),
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
                mark="explained",
            )
        )
    return Section(
        "spectrum",
        "Feature spectrum",
        blocks,
        command=lambda out: _missing([run.info for run in material.shown], out),
        also=material.one_seed,
    )


def _missing(runs: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    named = [info for info in runs if not from_memory(info)]
    if named or not runs:
        return about_runs("measure", named, out)
    return "the models of these runs were in memory, where no command finds them"


def _directions(lines: Sequence[tuple[str, int, Sequence[float]]]) -> Table:
    """How many singular values are above some shares of the largest."""
    heads = [Head("model", number=False), *(Head(f"above 1/{n}") for n in _SHARES), Head("all")]
    rows = [
        [
            Cell(name),
            *(count(sum(value > 1 / n for value in values)) for n in _SHARES),
            count(len(values)),
        ]
        for name, _, values in lines
    ]
    return Table("Directions with a singular value above a share of the largest", heads, rows)
