"""Training ends with an error when the loss or the model's outputs are no longer finite."""

from __future__ import annotations

import math

import torch

from robbench.core.errors import RunError
from robbench.core.freeze import frozen
from robbench.data.base import Split
from robbench.models.base import Classifier


def require_finite_loss(loss: float, epoch: int) -> None:
    """Raise RunError where the loss of an epoch, counted from 0, is not finite."""
    if not math.isfinite(loss):
        raise RunError(
            f"the loss became {loss} in epoch {epoch + 1}{_kept(epoch)}; "
            "lower --lr or change the loss"
        )


def require_finite_outputs(model: Classifier, split: Split, epoch: int) -> None:
    """Raise RunError where the outputs on the first samples of a split are not finite.

    The weights after an epoch's last step have not been through a loss yet.
    """
    with frozen(model), torch.no_grad():
        logits = model(split.pixels(slice(0, 8)))
    if not torch.isfinite(logits).all():
        raise RunError(
            f"the model's outputs are no longer finite after epoch {epoch + 1}{_kept(epoch)}; "
            "lower --lr"
        )


def _kept(epoch: int) -> str:
    return f" (epoch {epoch}, the last good one, is kept as @last)" if epoch else ""
