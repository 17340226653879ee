"""HAT, helper-based adversarial training: Rade and Moosavi-Dezfooli 2022 (ICLR).

OpenReview Azh9QBQ4tR7.

    CE(z(x), y) + beta KL(p(x) || p(x')) + gamma CE(z(x + h (x' - x)), k)
    p = softmax(z), x' climbs that KL, k = argmax u(x') with u trained on clean inputs

So TRADES, and beyond x' the model may change its mind as a standard one does at x', which spares
accuracy from margins that are wider than needed.

Certain (the released code): all of the above, u in evaluation mode, the helper's points not clipped
to [0,1], and beta = 2.5, gamma = 0.5, h = 2 for CIFAR-10 with a ResNet-18. The helper is what
--teacher names: train it before, with `--loss cross-entropy`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.trades import kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class HAT(Loss):
    """TRADES plus a standard model's answer beyond the attack (Rade et al. 2022).

    OpenReview Azh9QBQ4tR7.
    """

    beta: Annotated[Number, Field(ge=0, description="weight of the divergence")] = 2.5
    gamma: Annotated[
        Number, Field(ge=0, description="weight of the cross-entropy at the helper's points")
    ] = 0.5
    h: Annotated[
        Number, Field(ge=1, description="how far these are, in lengths of the perturbation")
    ] = 2.0
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    @property
    def teacher(self) -> str | None:
        return ""

    def __call__(self, step: Step) -> Tensor:
        x = step.adversary(self.climbs).x
        clean, adversarial = step.clean.logits, step.at(x).logits
        beyond = step.at(step.x + self.h * (x - step.x)).logits
        helped = F.cross_entropy(beyond, step.teacher(x).argmax(1), reduction="none")
        classification = F.cross_entropy(clean, step.y, reduction="none")
        return classification + self.beta * kl(clean, adversarial) + self.gamma * helped
