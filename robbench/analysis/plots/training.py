"""Loss and validation accuracies over the epochs of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robbench.analysis.plots.lines import Line, Plotted, Training
from robbench.core.errors import UserError
from robbench.core.spec import canonical_json

PANELS = {
    "clean accuracy": "clean_accuracy",
    "robust accuracy": "robust_accuracy",
    "training loss": "train_loss",
}
"""Titles of the panels, and the columns of the epochs table in them."""

Epochs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of the epochs table by the model's name."""


def trainings(
    epochs: Epochs, configs: Mapping[str, Mapping[str, Any]], *, over_seeds: bool = False
) -> Plotted:
    """Clean and robust accuracy of the validation samples in [0,1] and training loss by epoch.

    configs: the settings of each training. What a training did not measure is left out. Raises
    UserError where there is no epoch.
    """
    lines = [
        line
        for panel, column in PANELS.items()
        for place, (model, rows) in enumerate(epochs.items())
        if len(
            (
                line := _line(
                    model, place, panel, column, rows, configs[model] if over_seeds else None
                )
            ).x
        )
    ]
    if not lines:
        raise UserError(f"no epochs of {', '.join(epochs)}: nothing was trained")
    return Plotted(
        "training",
        lines,
        "epoch",
        "value",
        "Accuracy on the validation samples and training loss by epoch",
        panel="quantity",
    )


def _line(
    model: str,
    place: int,
    panel: str,
    column: str,
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any] | None,
) -> Line:
    known = [row for row in rows if row[column] is not None and math.isfinite(row[column])]
    nothing = np.full(len(known), math.nan)
    return Line(
        model,
        np.array([float(row["epoch"]) for row in known]),
        np.array([float(row[column]) for row in known]),
        nothing,
        nothing,
        count=None,
        panel=panel,
        place=place,
        rate=column != "train_loss",
        training=None if config is None else _training(model, config),
    )


def _training(model: str, config: Mapping[str, Any]) -> Training:
    recipe = canonical_json({**config, "seed": None})
    return Training(model, str(config.get("loss")), int(config.get("seed") or 0), recipe)
