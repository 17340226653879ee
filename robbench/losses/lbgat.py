"""LBGAT, learnable boundary guided adversarial training: Cui et al. 2021 (ICCV), arXiv:2011.11164.

    mean_k (z_k(x') - u_k(x))^2 + beta KL(p(x) || p(x'))
    p = softmax(z), x' climbs that KL, u a model for clean inputs

The model's adversarial logits are drawn to the clean ones of a model that has no need to be robust,
whose boundary guides its own.

Certain (the released code): both terms, beta 0 or 6, the attack of TRADES. Our reading: the
published code trains u alongside, by CE(u(x), y) and through the first term; ours is the frozen
model that --teacher names, in evaluation mode. So labels reach the model through u alone.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.trades import kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBGAT(Loss):
    """Adversarial logits drawn to the clean ones of a frozen model (Cui et al. 2021; our reading).

    arXiv:2011.11164.
    """

    beta: Annotated[
        Number, Field(ge=0, description="weight of the divergence; released: 0 and 6")
    ] = 0.0
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    @property
    def teacher(self) -> str | None:
        return ""

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary(self.climbs).x).logits
        guided = (adversarial - step.teacher(step.x)).square().mean(1)
        # Without it no output at x is made.
        return guided + self.beta * kl(step.clean.logits, adversarial) if self.beta else guided
