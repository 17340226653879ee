"""RPAT, robust perception adversarial training: Wang et al. 2025 (ICCV), arXiv:2508.02186.

    base + lam mean_k (z_k(m) - r z_k - (1 - r) z'_k)^2,   m = r x + (1 - r) x'
    z = z(x), z' = z(x'), x' by the inner attack of the base

The logits are asked to change evenly on the way from x to x', which costs one forward more. From
the released code: r = 1/2, lam = 1, gradients through all three, and the bases adversarial
training, TRADES and MART, here with their own defaults.

With beta > 0 it is RPAT++, in which the average of the weights over training, with logits u,
teaches how: + beta KL(softmax(u(m) - r u(x)) || softmax((1 - r) z')). The released code has r =
1/2. Our reading: its form for another r, and that it comes on top of the square.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import AVERAGE, Loss, Step
from robbench.losses.mart import MART
from robbench.losses.trades import TRADES, kl


@dataclasses.dataclass(frozen=True, kw_only=True)
class RPAT(Loss):
    """A base loss plus how unevenly the logits change towards x' (Wang et al. 2025).

    arXiv:2508.02186.
    """

    base: Annotated[
        Literal["cross-entropy", "trades", "mart"],
        Field(description="what is added to: cross-entropy at x', TRADES or MART"),
    ] = "cross-entropy"
    lam: Annotated[Number, Field(ge=0, description="weight of the evenness")] = 1.0
    r: Annotated[Number, Field(gt=0, lt=1, description="share of the clean input between")] = 0.5
    beta: Annotated[
        Number, Field(ge=0, description="weight of what the weights' average teaches; > 0: RPAT++")
    ] = 0.0

    @property
    def inner(self) -> str | None:
        return {"trades": TRADES.inner, "mart": MART.inner}.get(self.base, "pgd:steps=10")

    @property
    def climbs(self) -> str | None:
        return TRADES.climbs if self.base == "trades" else None

    @property
    def teacher(self) -> str | None:
        return AVERAGE if self.beta else None

    def __call__(self, step: Step) -> Tensor:
        x = step.adversary(self.climbs).x
        clean, adversarial = step.clean.logits, step.at(x).logits
        middle = self.r * step.x + (1 - self.r) * x
        gap = step.at(middle).logits - self.r * clean - (1 - self.r) * adversarial
        value = self._base(step, adversarial) + self.lam * gap.square().mean(1)
        if not self.beta:
            return value
        taught = step.teacher(middle) - self.r * step.teacher(step.x)
        return value + self.beta * kl(taught, (1 - self.r) * adversarial)

    def _base(self, step: Step, adversarial: Tensor) -> Tensor:
        if self.base == "cross-entropy":
            return F.cross_entropy(adversarial, step.y, reduction="none")
        return (TRADES() if self.base == "trades" else MART())(step)
