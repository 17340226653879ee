"""I-SCE, softmax cross-entropy with inference information: Song et al. 2022.

Mathematics 10(19), 3716; OpenReview hKps4HGGGx (ICLR 2021).

Certain is only that "margin-like" information is added to softmax cross-entropy. Everything below
is our reading, and results belong to the mode they were made with. With g = log(sum_{k != y}
e^{z_k}), every form is log(1 + exp(a - b)):

    additive          log(1 + e^s e^g / e^{z_y})       -log softmax with s taken from the true logit
    virtual-class     log(1 + (s + e^g) / e^{z_y})     one more wrong class, of logit log s
    multiplicative    log(1 + e^g / e^{z'})            z' = z_y / (1+s), or (1+s) z_y if z_y < 0

s = 0 is cross-entropy in every mode. Dividing negative logits too would help them, and equal logits
far below zero would solve everything: nothing is learned then. Only training knows s: the model's
logits stay plain. The additive form grows with g - z_y as cross-entropy does, so an attack on
cross-entropy climbs it too; but the loss asks for a log-odds of s and more, which a network can
give by scaling its logits: look at margin attacks and Square before believing a number.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.spec import Number
from robbench.losses.base import Loss, Step

_STREAM = 0x15CE  # s is drawn apart from the inner attack's start, which has the same key


@dataclasses.dataclass(frozen=True, kw_only=True)
class ISCE(Loss):
    """Cross-entropy with a margin-like handicap s in training (Song et al. 2022; our reading).

    Mathematics 10(19), 3716.
    """

    mode: Annotated[
        Literal["additive", "virtual-class", "multiplicative"],
        Field(
            description="subtract s from the true logit, add a class of logit log s, "
            "or shrink the true logit by 1 + s"
        ),
    ] = "additive"
    s: Annotated[
        Number, Field(ge=0, description="size of the handicap, 0 = cross-entropy; try 0.5 to 20")
    ] = 1.0
    sampling: Annotated[
        Literal["fixed", "uniform", "half-normal", "annealed"],
        Field(
            description="per sample and epoch: s, U(0, s) or |N(0, s^2)|; "
            "annealed grows from 0 to s over training"
        ),
    ] = "fixed"

    def __call__(self, step: Step) -> Tensor:
        logits, s = step.out.logits, self.draw(step)
        true = logits.gather(1, step.y[:, None])[:, 0]
        others = logits.masked_fill(
            F.one_hot(step.y, logits.shape[1]).bool(), -torch.inf
        ).logsumexp(1)
        if self.mode == "additive":
            return F.softplus(others + s - true)
        if self.mode == "virtual-class":
            return F.softplus(torch.logaddexp(others, s.log()) - true)
        return F.softplus(others - torch.where(true > 0, true / (1 + s), true * (1 + s)))

    def draw(self, step: Step) -> Tensor:
        """[B] the handicap of each sample: a function of its key or of the progress of training."""
        if self.sampling in ("fixed", "annealed"):
            share = step.progress if self.sampling == "annealed" else 1.0
            return torch.full_like(step.y, self.s * share, dtype=torch.float32)
        key = keyed.fold(step.key, _STREAM)
        return self.s * (
            keyed.uniform(key, ()) if self.sampling == "uniform" else keyed.normal(key, ()).abs()
        )
