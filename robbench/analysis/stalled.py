"""Adversarial training that never begins: a model that predicts one class, whatever it sees.

At full strength from the start the inner attack can leave a constant prediction as the best answer,
which no step leaves again (MNIST at linf:0.3, CIFAR-10 at 8/255 with a large step).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

STEPS = 100
"""After fewer, a model may predict one class because it has hardly begun."""
MORE = 0.05
"""The training samples may be so much more often right than a constant prediction is."""
WARMUP = 0.5
"""The share of training over which eps grows that is advised."""


def stalled(row: Mapping[str, Any], steps: int, warmup: float) -> str | None:
    """A sentence about an epoch (a row of the epochs table) that shows it, else None.

    steps: of the optimizer until then. warmup: over which share of training eps grows.
    """
    trained = json.loads(row["logs"] or "{}").get("adversarial_accuracy")
    constant = row.get("predicted_classes") == 1
    if steps < STEPS or trained is None or not constant:
        return None
    if not trained <= row["clean_accuracy"] + MORE:
        return None
    slower = f"--set eps_warmup={WARMUP:g} or " if warmup < WARMUP else ""
    return (
        f"epoch {row['epoch']}: all validation samples are predicted as one class, which is right "
        f"for {row['clean_accuracy']:.0%} of them, and {trained:.0%} of the training samples are "
        f"right at the inner attack's points: training has stalled; give {slower}a lower lr"
    )
