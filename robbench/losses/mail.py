"""MAIL, weights by probabilistic margins: Wang, Liu, Han et al. 2021, arXiv:2106.07904 (NeurIPS).

    PM = max_{k != y} q_k - q_y      in [-1,1], positive = misclassified
    q  = softmax(z')                 z' at the adversarial x'
    w  = 3 sigma(slope (PM + bias))  no gradient

    MAIL-AT       w CE(z', y)
    MAIL-TRADES   CE(z, y) + beta w KL(p || q),   p = softmax(z)

Certain (the released code): this sign of PM, the factor 3, no gradient through w, gradient through
p and q, and the options of its two commands. The paper writes PM with the opposite sign and
normalises the weights: `normalise=batch`, our reading, makes their mean over the batch 1. Before
the end of the burn-in all weights are 1. Burn-in is a share of training here: 75 of 120 epochs; the
released code counts from 0 up to and including 75, which is one epoch more.
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
from robbench.objectives import best_other

Slope = Annotated[Number, Field(description="how steeply the weight grows with the margin PM")]
Bias = Annotated[Number, Field(description="minus the margin PM whose weight is in the middle")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Weighted(Loss):
    slope: Slope = 1.0
    bias: Bias = 0.0
    normalise: Annotated[
        Literal["factor", "batch"],
        Field(
            description="factor = 3 sigma(.), the released code; "
            "batch = mean 1 over the batch, our reading of the paper"
        ),
    ] = "factor"
    burn_in: Annotated[
        Number, Field(ge=0, le=1, description="share of training before the weights set in")
    ] = 75 / 120

    @property
    def batch_coupled(self) -> bool:
        """Only normalised weights depend on the rest of the batch."""
        return self.normalise == "batch"

    def weights(self, step: Step, adversarial: Tensor) -> Tensor:
        """[B] from adversarial logits [B,K], without gradient."""
        q = adversarial.detach().softmax(1)
        margin = best_other(q, step.y) - q.gather(1, step.y[:, None])[:, 0]
        step.log(probabilistic_margin=margin)
        if step.progress < self.burn_in:
            return torch.ones_like(margin)
        argument = self.slope * (margin + self.bias)
        return (
            3 * argument.sigmoid()
            if self.normalise == "factor"
            else len(margin) * F.logsigmoid(argument).softmax(0)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAILAT(_Weighted):
    """Adversarial cross-entropy, weighted by probabilistic margins (Wang et al. 2021).

    arXiv:2106.07904.
    """

    slope: Slope = 10.0
    bias: Bias = -0.5
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary().x).logits
        return self.weights(step, adversarial) * F.cross_entropy(
            adversarial, step.y, reduction="none"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAILTRADES(_Weighted):
    """TRADES, its divergence weighted by probabilistic margins (Wang et al. 2021).

    arXiv:2106.07904.
    """

    beta: Annotated[Number, Field(ge=0, description="weight of the divergence")] = 5.0
    slope: Slope = 2.0
    bias: Bias = 0.0
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        x = step.adversary(self.climbs).x
        clean, adversarial = step.clean.logits, step.at(x).logits
        divergence = self.weights(step, adversarial) * kl(clean, adversarial)
        return F.cross_entropy(clean, step.y, reduction="none") + self.beta * divergence
