"""Which epoch of a training is the model: the best on the validation samples, or the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict


class Selection(TypedDict):
    """What was selected, `best` or `last`, its epoch and the best one, counted from 1."""

    model: str
    epoch: int
    best_epoch: int


def score(row: dict[str, Any]) -> tuple[float, float]:
    """Robust, then clean validation accuracy of an epoch; the same for all without validation."""
    robust, clean = row["robust_accuracy"], row["clean_accuracy"]
    return (-1.0, -1.0) if math.isnan(robust) else (robust, clean)


def is_best(row: dict[str, Any], before: Sequence[dict[str, Any]]) -> bool:
    """Whether no epoch before has a higher score: the latest of equals is the best."""
    return all(score(row) >= score(other) for other in before)


def select(rows: Sequence[dict[str, Any]], setting: str, *, adversarial: bool) -> Selection:
    """Apply the setting `select` to the epochs of a training.

    `auto` is the best epoch of adversarial training, which overfits, and the last of training on
    clean inputs, as papers report it.
    """
    model = ("best" if adversarial else "last") if setting == "auto" else setting
    best = max(range(len(rows)), key=lambda i: (score(rows[i]), i)) + 1
    return {"model": model, "epoch": best if model == "best" else len(rows), "best_epoch": best}
