"""TRADES: Zhang et al. 2019, arXiv:1901.08573, eq. 5.

    CE(z(x), y) + beta * KL(p(x) || p(x')),   x' climbs that KL from x + 0.001 N(0,1)

Gradient flows through both distributions, as in the authors' code; everything stays in log space,
so no NaN from zeros.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class TRADES(Loss):
    """Cross-entropy plus beta times the divergence the inner attack reaches (Zhang et al. 2019).

    arXiv:1901.08573.
    """

    beta: Annotated[
        Number, Field(ge=0, description="weight of the divergence; the paper's range is 1 to 10")
    ] = 6.0
    inner: ClassVar[str | None] = "pgd:steps=10,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary(self.climbs).x).logits
        clean = step.clean.logits
        return F.cross_entropy(clean, step.y, reduction="none") + self.beta * kl(clean, adversarial)


def kl(z: Tensor, other: Tensor) -> Tensor:
    """[B] KL(softmax(z) || softmax(other)) of logits [B,K]."""
    return F.kl_div(
        F.log_softmax(other, 1), F.log_softmax(z, 1), reduction="none", log_target=True
    ).sum(1)
