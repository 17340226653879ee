"""MART, misclassification-aware adversarial training: Wang et al. 2020 (ICLR).

"Improving adversarial robustness requires revisiting misclassified examples".

    BCE(z', y) + beta * KL(p || q) * (1 - p_y)
    p = softmax(z), q = softmax(z'), z' at x', which climbs cross-entropy
    BCE(z', y) = CE(z', y) - log(1 - max_{k != y} q_k)

Certain (the released code): the constants 1.0001 and 1.0000001 where the formula has 1, kept here;
gradient flows through p, q and the factor 1 - p_y alike, nothing is detached. That code also adds
1e-12 inside its logarithms: in the first it changes nothing, in the KL we work in log space
instead.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.trades import kl
from robbench.objectives import best_other


@dataclasses.dataclass(frozen=True, kw_only=True)
class MART(Loss):
    """Boosted cross-entropy plus a divergence weighted by the error (Wang et al. 2020)."""

    beta: Annotated[
        Number,
        Field(
            ge=0,
            description="weight of the divergence; "
            "released: 5 for ResNet-18, 6 for WideResNet-34-10",
        ),
    ] = 5.0
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"

    def __call__(self, step: Step) -> Tensor:
        x, y = step.adversary().x, step.y
        clean, adversarial = step.clean.logits, step.at(x).logits
        bce = F.cross_entropy(adversarial, y, reduction="none") - torch.log(
            1.0001 - best_other(adversarial.softmax(1), y)
        )
        p_y = clean.softmax(1).gather(1, y[:, None])[:, 0]
        return bce + self.beta * kl(clean, adversarial) * (1.0000001 - p_y)
