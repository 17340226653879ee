"""What a training came to, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.forecast import TrainForecast
from robbench.reports.terminal.forecast import duration
from robbench.reports.texts import percent


def training_line(found: TrainForecast) -> str:
    """What the steps of a training will take."""
    each = (
        f"{found.seconds_per_step:.1f} s"
        if found.seconds_per_step >= 1
        else f"{1000 * found.seconds_per_step:.0f} ms"
    )
    return (
        f"about {duration(found.seconds)} on {found.device}: {found.steps:,} steps of {each}, as "
        "measured; validation comes on top"
    )


def validation(epochs: Sequence[Mapping[str, Any]], selected: Mapping[str, Any]) -> dict[str, Any]:
    """Validation accuracies in [0,1] of the best and of the last epoch; None without validation.

    Nothing where the epochs table has gone.
    """
    if not epochs:
        return {}
    rows = {"best": epochs[selected["best_epoch"] - 1], "last": epochs[-1]}
    return {
        which: {
            "epoch": row["epoch"],
            **{name: _known(row[name]) for name in ("clean_accuracy", "robust_accuracy")},
        }
        for which, row in rows.items()
    }


def validation_lines(epochs: Sequence[Mapping[str, Any]], selected: Mapping[str, Any]) -> list[str]:
    """Validation of the best and the last epoch, a line each; the selected one is marked."""
    found = validation(epochs, selected)
    if not found or found["last"]["clean_accuracy"] is None:
        return []
    width = len(str(found["last"]["epoch"]))
    return [
        f"  {which} epoch {row['epoch']:>{width}}: validation "
        f"{percent(row['clean_accuracy'])} clean, {percent(row['robust_accuracy'])} robust"
        + (" <- the model" if which == selected["model"] else "")
        for which, row in found.items()
    ]


def _known(rate: float | None) -> float | None:
    return None if rate is None or rate != rate else rate
