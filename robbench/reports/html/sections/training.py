"""The section about the training: losses and accuracies by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.series import model_names, model_place
from robbench.reports.html import figures
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Plot, Section, in_words


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


def _over_epochs(
    epochs: Sequence[Mapping[str, Any]], key: str, scale: float
) -> tuple[list[int], list[float]]:
    pairs = [
        (row["epoch"], scale * row[key])
        for row in epochs
        if row[key] is not None and math.isfinite(row[key])
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]
