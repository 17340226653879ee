"""DyART, dynamics-aware robust training: Xu, Sun, Goldblum, Goldstein and Huang 2023 (ICLR).

"Exploring and exploiting decision boundary dynamics for adversarial robustness", arXiv:2302.03015.

    CE(z(x), y) + lam h(R),   h' = -exp(-decay R) for R < reach, h = 0 beyond
    R: distance of x to the nearest x_b with phi(z(x_b)) = 0, by FAB; 0 where phi(z(x)) < 0
    phi(z) = z_y - (1/t) logsumexp_{k != y} t z_k
    dR/dweights = dphi(z(x_b))/dweights / ||grad_x phi(z(x_b))||_dual

So the radius grows by its own gradient, the more the smaller it is. Samples with phi < 0 have
cross-entropy alone to learn from. Logged are the mean of R, the reach where it is more, and the
share of samples that count.

Certain (the released code): all of the above, t = 5, 20 iterations of FAB in evaluation mode, and
for 8/255 in Linf lam = 1000, decay = 3 and reach = 16/255; gradients clipped to 0.1 (the recipe's
`clip`), and 10 epochs of clean training before the 200.

Our choice: `lam`, `decay` and `reach` are in units of the recipe's eps, with these defaults the
same at 8/255; FAB begins at x, theirs eps/2 away in a random direction; L2 and L1 as Linf; samples
that do not count are at x in the forward of the boundary points, theirs are left out. Theirs also
drops points with phi < -0.3, and those where less than 0.9 of the largest perturbations go against
the gradient; and its value is that of phi at x_b in place of h, which is near zero wherever the
boundary is: only the gradients are the same.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.rows import pick
from robbench.core.spec import Number
from robbench.losses.base import Boundary, Loss, Step
from robbench.objectives import soft_margins


@dataclasses.dataclass(frozen=True, kw_only=True)
class DyART(Loss):
    """Cross-entropy, and the distance to the boundary by its own gradient (Xu et al. 2023).

    arXiv:2302.03015.
    """

    lam: Annotated[
        Number, Field(ge=0, description="weight of a distance of eps; released: 1000 x 8/255")
    ] = 1000 * 8 / 255
    decay: Annotated[
        Number,
        Field(gt=0, description="how fast the weight falls per distance of eps; released: 24/255"),
    ] = 24 / 255
    reach: Annotated[
        Number, Field(gt=0, description="from which distance on nothing counts, in units of eps")
    ] = 2.0
    sharpness: Annotated[
        Number, Field(gt=0, description="t of the smooth maximum of the other logits")
    ] = 5.0
    burn_in: Annotated[
        Number, Field(ge=0, le=1, description="share of training on clean inputs alone first")
    ] = 10 / 210
    inner: ClassVar[str | None] = "fab:iterations=20"
    nearest: ClassVar[bool] = True

    def __call__(self, step: Step) -> Tensor:
        value = F.cross_entropy(step.clean.logits, step.y, reduction="none")
        if step.progress < self.burn_in:
            return value
        # Once: weight perturbation trains at the points of the weights as they are.
        found: Boundary = step.once("boundary", lambda: step.boundary(self.margins))
        r = torch.where(found.distance > 0, found.distance / step.eps, 0.0).clamp(max=self.reach)
        counts = (r > 0) & (r < self.reach) & (found.slope > 0)
        step.log(boundary_distance=step.eps * r, boundary_counts=counts.float())
        phi = self.margins(step.at(pick(counts, found.x, step.x)).logits, step.y)
        falls = (-self.decay * r).exp()
        cost = (falls - math.exp(-self.decay * self.reach)) / self.decay
        weight = torch.where(counts, falls / (step.eps * found.slope), 0.0)
        return value + self.lam * (cost - weight * (phi - phi.detach()))  # which is zero but grows

    def margins(self, logits: Tensor, y: Tensor) -> Tensor:
        """[B] phi of logits [B,K]."""
        return soft_margins(self.sharpness * logits, y) / self.sharpness
