"""Fitting what a loss leaves free in the head, such as a bias, to the training features."""

from __future__ import annotations

import torch

from robbench.core.freeze import frozen
from robbench.data.base import Split
from robbench.losses.base import Loss
from robbench.models.base import Classifier

ROWS = 256  # at a time


def fit_head(loss: Loss, model: Classifier, split: Split) -> None:
    """Let a loss with `fits_head` set the head of `model`; others leave it as it is."""
    if not loss.fits_head:
        return
    with torch.no_grad():
        with frozen(model):
            parts = [
                model.features(split.pixels(slice(i, i + ROWS))) for i in range(0, len(split), ROWS)
            ]
        # Not frozen here: the head's buffers would be restored.
        loss.fit_head(model.head, torch.cat(parts), split.labels)
