"""ARoW and CoW, anti-robust and confidence weighting: Yang, Xu and Kim 2023 (ICML).

"Improving adversarial robustness by putting more regularizations on less robust samples",
arXiv:2206.03353.

    ARoW    CE(z, y; smoothed) + beta KL(p || q) (1 - q_y)
    CoW     CE(z, y; smoothed) + beta KL(p || q) (1 - p_y)
    p = softmax(z), q = softmax(z'), z' at x', which climbs that KL

So TRADES, with more of its divergence where a sample is not robust (ARoW) or not surely right
(CoW). From the released code: labels smoothed by 0.2, beta = 6, gradients through the weights too.
MART's weight is CoW's; its cross-entropy is at x'.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step
from robbench.losses.trades import kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Weighted(Loss):
    beta: Annotated[Number, Field(ge=0, description="weight of the divergence")] = 6.0
    smoothing: Annotated[
        Number, Field(ge=0, lt=1, description="share of the label given to all classes alike")
    ] = 0.2
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary(self.climbs).x).logits
        clean = step.clean.logits
        classification = F.cross_entropy(
            clean, step.y, reduction="none", label_smoothing=self.smoothing
        )
        trusted = self.weighed(clean, adversarial).softmax(1).gather(1, step.y[:, None])[:, 0]
        return classification + self.beta * kl(clean, adversarial) * (1 - trusted)

    @abstractmethod
    def weighed(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """[B,K]: the logits whose probability of the label lowers the weight."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ARoW(_Weighted):
    """TRADES weighted by the error at the adversarial point (Yang et al. 2023).

    arXiv:2206.03353.
    """

    def weighed(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        return adversarial


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoW(_Weighted):
    """TRADES weighted by the error at the clean input (Yang et al. 2023; arXiv:2206.03353)."""

    def weighed(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        return clean
