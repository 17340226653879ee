"""Validation after an epoch, by the engine that `robbench attack` uses."""

from __future__ import annotations

import math
from typing import NamedTuple

from robbench.attacks.base import AttackEntry
from robbench.attacks.pgd import PGD
from robbench.core.device import default_batch_size
from robbench.data.base import Split
from robbench.engine.evaluate import evaluate
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel

VALIDATION_ATTACK = PGD(steps=10)


class Validation(NamedTuple):
    """Accuracies in [0,1] and mean logit margins, clean and under a short PGD.

    predicted_classes: how many different ones the model predicts of the clean inputs.
    """

    clean_accuracy: float
    robust_accuracy: float
    clean_margin: float
    adv_margin: float
    predicted_classes: int | None = None


def validate(model: Classifier, split: Split, threat: ThreatModel, seed: int) -> Validation:
    """Clean and under PGD of ten steps within `threat`; NaN where the split has no samples."""
    if not len(split):
        return Validation(math.nan, math.nan, math.nan, math.nan)
    width = default_batch_size(split.labels.device)
    entries = [AttackEntry("validation", VALIDATION_ATTACK)]
    verdicts = evaluate(model, split, threat, entries, seed=seed, width=width).verdicts
    labels = split.labels[[verdict.sample for verdict in verdicts]].tolist()
    columns = (
        [v.clean_pred == y for v, y in zip(verdicts, labels, strict=True)],
        [not v.adversarial for v in verdicts],
        [v.clean_margin for v in verdicts],
        [v.adv_margin for v in verdicts],
    )
    clean, robust, margin, worst = (sum(column) / len(verdicts) for column in columns)
    return Validation(clean, robust, margin, worst, len({v.clean_pred for v in verdicts}))
