"""MMA, max-margin adversarial training: Ding, Sharma, Lui and Huang 2020, arXiv:1812.02637 (ICLR).

    (1 - c) M + c CE(z(x), y),   SLM(x) = logsumexp_{k != y} z_k(x) - z_y(x)
    M = CE(z(x + d u), y)    SLM(x) < 0 and d < d_max     SLM(x + d u) = 0, u by the inner attack
        0                    SLM(x) < 0 and d >= d_max    far enough
        CE(z(x), y)          SLM(x) >= 0

AN-PGD finds u and d: the inner attack climbs SLM within the d of the sample's last turn (at least
`eps_min`), then bisection finds d in [0, 1.05 d_max] in the direction of the attack's point.

Certain (the released code): all of the above, ten rounds of bisection, c = 1/3 (c = 0 is called
OMMA), CE as the margin's surrogate, and one forward for the points of M, where misclassified
samples are at x. Gradient flows through the outputs only, u and d are constants. For CIFAR-10 in
Linf it has d_max of 12, 20 or 32 (of 255) and eps_min 0.005, in L2 1, 2 or 3 and 0.5.

Our choice: both as multiples of the recipe's eps, where they are not given; the bisection runs in
the mode of the inner attack, not in training mode; x + d u is clipped to [0,1] as it is in the
bisection.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.errors import UserError
from robbench.core.rows import lift, pick
from robbench.core.spec import Number, OrNone
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.objectives import soft_margins

Positive = Annotated[Number, Field(gt=0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMA(Loss):
    """Max-margin training: attacks every sample up to the decision boundary (Ding et al. 2020).

    arXiv:1812.02637.
    """

    d_max: Annotated[
        Positive | None,
        OrNone,
        Field(description="a margin wide enough; none = 1.5 eps (our choice)"),
    ] = None
    eps_min: Annotated[
        Positive | None,
        OrNone,
        Field(description="smallest attack budget; none = eps / 6 (our choice)"),
    ] = None
    clean_weight: Annotated[
        Number, Field(ge=0, le=1, description="share c of the clean cross-entropy; 0 = OMMA")
    ] = 1 / 3
    rounds: Annotated[
        int, Field(ge=5, description="rounds of bisection; fewer do not come within 5 % of d_max")
    ] = 10
    stateful: ClassVar[bool] = True
    inner: ClassVar[str | None] = "pgd:steps=10"
    climbs: ClassVar[str | None] = "soft-margin"

    def check(self, info: DataInfo) -> None:
        if self.d_max is not None and self.eps_min is not None and self.eps_min > self.d_max:
            raise UserError(f"loss mma: eps_min={self.eps_min} is above d_max={self.d_max}")

    def __call__(self, step: Step) -> Tensor:
        clean = step.clean.logits
        d_max = self.d_max or 1.5 * step.eps
        # Once: weight perturbation trains at the points of the weights as they are.
        correct, d, point = step.once(
            "boundary",
            lambda: (soft_margins(clean.detach(), step.y) > 0, *self.boundary(step, 1.05 * d_max)),
        )
        d = torch.where(correct, d, 0.0)
        step.remember("mma", d)
        step.log(mma_margin=d)
        value = F.cross_entropy(
            step.at(pick(correct, point, step.x)).logits, step.y, reduction="none"
        )
        margin_term = torch.where(d < d_max, value, 0.0)
        return (1 - self.clean_weight) * margin_term + self.clean_weight * F.cross_entropy(
            clean, step.y, reduction="none"
        )

    def boundary(self, step: Step, high_end: float) -> tuple[Tensor, Tensor]:
        """Distance [B] and point [B,*] of the soft margin's zero on the inner attack's way.

        The distance is near `high_end` where the zero is farther or not on the way.
        """
        x = step.x
        eps = step.memory("mma", 0.0).clamp(min=self.eps_min or step.eps / 6).clamp(max=high_end)
        way = (step.adversary(self.climbs, eps=eps).x - x) / lift(
            eps.clamp(min=torch.finfo(eps.dtype).tiny), x
        )
        low, high = torch.zeros_like(eps), torch.full_like(eps, high_end)
        for _ in range(self.rounds):
            holds = soft_margins(step.peek(moved(x, eps, way)), step.y) > 0
            low, high = torch.where(holds, eps, low), torch.where(holds, high, eps)
            eps = (low + high) / 2
        return eps, moved(x, eps, way)


def moved(x: Tensor, length: Tensor, way: Tensor) -> Tensor:
    """Go a length [B] from x [B,*], inside the box."""
    return (x + lift(length, x) * way).clamp(0, 1)
