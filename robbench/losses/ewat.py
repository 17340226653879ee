"""EWAT, entropy-weighted adversarial training: Kim, Tack, Shin and Hwang 2021.

ICML workshop AML, OpenReview VLdqHdp4j1H.

    (base + w) CE(z', y),   w = H / mean H,   H = -sum_k q_k log q_k
    q = softmax(z'), z' at the adversarial x'

Certain (the abstract): each adversarial example's loss is weighted in proportion to the entropy of
its prediction; taken literally that is base=0. All else is our reading: that the weights come on
top of base=1, as later papers describe it, how they are normalised, that they carry no gradient,
and the second form, CE(z, y) + beta (base + w) KL(p || q), which weighs the divergence of TRADES.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.trades import kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class _EntropyWeighted(Loss):
    base: Annotated[
        Number,
        Field(ge=0, description="what the weight is added to; 0 = entropy alone (our reading: 1)"),
    ] = 1.0
    normalise: Annotated[
        Literal["mean", "max", "sum"],
        Field(
            description="the entropy's unit: the batch's mean, the largest possible, log K, "
            "or the batch's sum (our reading)"
        ),
    ] = "mean"

    @property
    def batch_coupled(self) -> bool:
        """Mean and sum are those of the batch, the largest possible entropy is not."""
        return self.normalise != "max"

    def weights(self, step: Step, adversarial: Tensor) -> Tensor:
        """[B] from adversarial logits [B,K], without gradient; `base` if all entropies are zero."""
        entropy = torch.special.entr(adversarial.detach().softmax(1)).sum(1)
        step.log(entropy=entropy)
        if self.normalise == "max":
            unit = torch.full_like(entropy[:1], adversarial.shape[1]).log()
        else:
            unit = entropy.mean() if self.normalise == "mean" else entropy.sum()
        relative: Tensor = entropy / unit.clamp(min=torch.finfo(entropy.dtype).tiny)
        return self.base + relative


@dataclasses.dataclass(frozen=True, kw_only=True)
class EWAT(_EntropyWeighted):
    """Adversarial cross-entropy, weighted by the entropy of the prediction (Kim et al. 2021).

    OpenReview VLdqHdp4j1H.
    """

    inner: ClassVar[str | None] = "pgd:steps=10"

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary().x).logits
        return self.weights(step, adversarial) * F.cross_entropy(
            adversarial, step.y, reduction="none"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EWATTRADES(_EntropyWeighted):
    """TRADES, its divergence weighted by the entropy (Kim et al. 2021; our reading)."""

    beta: Annotated[Number, Field(ge=0, description="weight of the divergence, as for TRADES")] = (
        6.0
    )
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        x = step.adversary(self.climbs).x
        clean, adversarial = step.clean.logits, step.at(x).logits
        divergence = self.weights(step, adversarial) * kl(clean, adversarial)
        return F.cross_entropy(clean, step.y, reduction="none") + self.beta * divergence
