"""What a training came to, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.reports.texts import percent


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
