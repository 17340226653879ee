"""The sections about what stands behind the numbers: features, training, evidence checks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.reports import texts
from robbench.reports.html import figures
from robbench.reports.html.data import ReportData, model_names, model_place, name_of
from robbench.reports.html.page import Cell, Head, Notes, Plot, Section, Table, in_words, number
from robbench.store.run import Run

_MEASURED = {
    "effective_rank": "effective rank of the features",
    "numerical_rank": "numerical rank of the features",
    "n_features_90": "features for 90 % of a logit",
    "feature_margin_median": "feature margin, median",
    "svm_ratio": "feature margin over the SVM's, median pair",
    "calibration_error": "calibration error (ECE)",
}
_VERDICTS = {"fail": "failed", "unclear": "cannot tell", "pass": "passed", "skipped": "skipped"}
_GRAVE = ("error", "warning", "info")


def spectrum(material: ReportData) -> Section:
    """Singular values of the penultimate features, and ranks, of each model that was measured."""
    names = model_names(material.runs)
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in material.runs:
        rows = {
            row["name"]: row
            for row in material.measures.get(run.info["run_id"], ())
            if _is_clean(row, run)
        }
        if rows:
            found.setdefault(name_of(run, names), rows)
    lines = [
        (name, list(names.values()).index(name), values)
        for name, rows in found.items()
        if (values := _singular_values(rows))
    ]
    blocks: list[Any] = []
    if lines:
        words = in_words(
            [
                f"{name}: {sum(value > 1e-3 for value in values)} of {len(values)} above a thousandth of the largest"
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


def training(material: ReportData) -> Section:
    """Loss and validation accuracy over the epochs."""
    names = model_names(material.runs)
    found = [
        (model_place(name, names), name, done.epochs)
        for name, done in material.trainings.items()
        if done.epochs
    ]
    losses = [
        (name, i, "solid", *_over_epochs(epochs, "train_loss", 1)) for i, name, epochs in found
    ]
    rates = [
        (f"{name}, {what}", i, dash, *values)
        for i, name, epochs in found
        for what, key, dash in (
            ("clean", "clean_accuracy", "solid"),
            ("robust", "robust_accuracy", "dash"),
        )
        if (values := _over_epochs(epochs, key, 100))[1]
    ]
    blocks = []
    for title, lines, unit in (
        ("Training loss", losses, "loss"),
        ("Validation accuracy", rates, "accuracy (%)"),
    ):
        if lines:
            words = in_words(
                [
                    f"{name}: {values[0]:.3g} to {values[-1]:.3g}"
                    for name, _, _, _, values in lines
                    if values
                ]
            )
            blocks.append(
                Plot(title, f"Line chart over epochs. {words}.", figures.training(lines, unit))
            )
    return Section("training", "Training", blocks)


def checks(material: ReportData) -> Section:
    """What speaks for and against believing the numbers."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    unchecked = []
    for run in material.runs:
        rows = sorted(material.checks.get(run.info["run_id"], ()), key=_gravity)
        title = f"{name_of(run, names)}, {run.info['threat']}, {run.info['attack']}, run {run.info['run_id']}"
        if not rows:
            unchecked.append(run)
            continue
        heads = [
            Head("check", number=False),
            Head("severity", number=False),
            Head("verdict", number=False),
            Head("figure"),
            Head("threshold"),
            Head("meaning", number=False),
        ]
        told = [row for row in rows if row["verdict"] in ("fail", "unclear")]
        rest = [row for row in rows if row["verdict"] not in ("fail", "unclear")]
        if told:
            blocks.append(Table(title, heads, [_check_cells(row) for row in told]))
        if rest:
            counts = [
                f"{sum(row['verdict'] == v for row in rest)} {_VERDICTS[v]}"
                for v in ("pass", "skipped")
            ]
            blocks.append(
                Table(
                    f"{title}: {', '.join(counts)}",
                    heads,
                    [_check_cells(row) for row in rest],
                    folded=True,
                )
            )
    if blocks and unchecked:
        blocks.append(
            Notes(
                [
                    f"{len(unchecked)} runs are not checked yet: robbench check {unchecked[0].info['run_id']}"
                ]
            )
        )
    return Section("checks", "Evidence checks", blocks, runs=material.runs[0].info["run_id"])


def _is_clean(row: Mapping[str, Any], run: Run) -> bool:
    """Whether a row of the measures table is about the run's clean samples, all classes."""
    return row["points"] == "clean" and row["split"] == run.info["split"] and row["class"] is None


def _singular_values(rows: Mapping[str, Mapping[str, Any]]) -> list[float] | None:
    """Relative singular values, falling: in the detail of the rank that was counted from them."""
    detail = json.loads((rows.get("numerical_rank") or {}).get("detail") or "{}")
    return detail.get("singular_values") or None


def _over_epochs(
    epochs: Sequence[Mapping[str, Any]], key: str, scale: float
) -> tuple[list[int], list[float]]:
    pairs = [
        (row["epoch"], scale * row[key])
        for row in epochs
        if row[key] is not None and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _gravity(row: Mapping[str, Any]) -> tuple[int, int]:
    order = list(_VERDICTS)
    verdict = order.index(row["verdict"]) if row["verdict"] in order else len(order)
    return verdict, _GRAVE.index(row["severity"]) if row["severity"] in _GRAVE else len(_GRAVE)


def _check_cells(row: Mapping[str, Any]) -> list[Cell]:
    samples = (
        f" ({len(row['evidence'])} samples)" if row["verdict"] == "fail" and row["evidence"] else ""
    )
    mark = f"{row['verdict']} {row['severity']}" if row["verdict"] == "fail" else row["verdict"]
    return [
        Cell(row["check"]),
        Cell(row["severity"]),
        Cell(_VERDICTS.get(row["verdict"], row["verdict"]), mark=mark),
        *(
            number(row[name] if row["verdict"] != "unclear" else None)
            for name in ("figure", "threshold")
        ),
        Cell(row["text"] + samples),
    ]


def _ids(runs: Sequence[Run]) -> str:
    """Run ids for a command line, the first few."""
    ids = [run.info["run_id"] for run in runs]
    return " ".join(ids[:4]) + (" ..." if len(ids) > 4 else "") if ids else texts.NOTHING
