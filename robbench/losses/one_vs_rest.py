"""One-versus-rest: every logit is a binary classifier of its own (Rifkin and Klautau 2004, JMLR 5).

    log(1 + exp(-z_y)) + sum_{k != y} log(1 + exp(z_k))

Summed over the classes, not averaged. No softmax couples the logits, so a wrong one is pushed down
however low it is among the others. This is the loss that SOVR gives its hard samples
(losses/sovr.py).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneVsRest(Loss):
    """Sum of K binary logistic losses, one per logit, at the clean or the inner attack's point."""

    def __call__(self, step: Step) -> Tensor:
        return one_vs_rest(step.out.logits, step.y)


def one_vs_rest(logits: Tensor, y: Tensor) -> Tensor:
    """[B] of logits [B,K]; -z_y + sum_k softplus(z_k) would cancel for a confident model."""
    true = F.one_hot(y, logits.shape[1]).bool()
    return F.softplus(torch.where(true, -logits, logits)).sum(1)
