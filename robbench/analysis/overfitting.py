"""Catastrophic overfitting of single-step adversarial training: Wong et al. 2020, arXiv:2001.03994.

The model learns to answer the one step of its inner attack, and nothing more: the accuracy at that
attack's points goes up while the accuracy under several steps falls to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

GAP = 0.2
"""Training and validation differ by more than samples explain."""


def catastrophic_overfitting(row: Mapping[str, Any], inner_steps: int) -> str | None:
    """A sentence about an epoch (a row of the epochs table) that shows it, else None.

    inner_steps: of the inner attack, 0 for none. Only one step is known to fail so: with several,
    the same figures are those of robust overfitting, which comes slowly.
    """
    trained = json.loads(row["logs"] or "{}").get("adversarial_accuracy")
    robust = row["robust_accuracy"]
    if inner_steps != 1 or trained is None or not robust < min(trained / 2, trained - GAP):
        return None
    return (
        f"epoch {row['epoch']}: {trained:.0%} of the training samples are right at the points of "
        f"the single-step inner attack, {robust:.0%} of the validation samples under ten steps of "
        "PGD: catastrophic overfitting; give --inner pgd:steps=2 or more"
    )
