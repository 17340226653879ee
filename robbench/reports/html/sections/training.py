"""The section about the training: losses and accuracies by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.series import model_names, model_place
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import lines as figures
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, count, in_words, number
from robbench.reports.texts import digits

Line = tuple[str, int, str, Sequence[int], Sequence[float]]
"""Of a figure: model, its number, dash, epochs, values."""


def training(material: ReportData) -> Section:
    """Loss and validation accuracy over the epochs."""
    names = model_names(material.shown)
    found = [
        (model_place(name, names), name, done.epochs)
        for name, done in material.trainings.items()
        if done.epochs and name in {model for model, _ in names}
    ]
    losses = [
        (name, i, "solid", *values)
        for i, name, epochs in found
        if (values := _over_epochs(epochs, "train_loss", 1))[1]
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
                    f"{name}: {digits(values[0])} to {digits(values[-1])}"
                    for name, _, _, _, values in lines
                ]
            )
            drawn = figures.training(lines, unit)
            table = _ends(title, lines)
            blocks.append(Plot(title, f"Line chart over epochs. {words}.", drawn, data=table))
    return Section("training", "Training", blocks, also=material.one_seed)


def _ends(title: str, lines: Sequence[Line]) -> Table:
    """Where each line begins and ends, and its extremes."""
    heads = [Head("model", number=False), *map(Head, ("epochs", "first", "last", "least", "most"))]
    rows = [
        [Cell(name), count(len(epochs)), *map(number, _four(values))]
        for name, _, _, epochs, values in lines
    ]
    return Table(f"{title} over the epochs", heads, rows)


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    return values[0], values[-1], min(values), max(values)


def _over_epochs(
    epochs: Sequence[Mapping[str, Any]], key: str, scale: float
) -> tuple[list[int], list[float]]:
    pairs = [
        (row["epoch"], scale * row[key])
        for row in epochs
        if row[key] is not None and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]
