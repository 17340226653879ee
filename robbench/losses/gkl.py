"""GKL, generalised KL divergence: Cui et al. 2025, arXiv:2503.08038 (TPAMI 2026).

    CE(z, y) + beta wMSE + alpha SCE,   z = z(x), z' = z(x'), x' climbs SCE
    SCE  = -sum_k softmax(z)_k log softmax(z')_k          no gradient through z
    wMSE = 1/4 sum_ij c_i c_j (D_ij - D'_ij)^2 / sum_ij c_i c_j,   D_ij = z_i - z_j
    c    = (mean of softmax(z / temperature) of the class y over the last epoch)^gamma

KL(softmax(z) || softmax(z')) has the gradient of SCE in z', and in z that of wMSE with c =
softmax(z) (DKL, arXiv:2305.13948). Here the gradient of wMSE flows through both sides, and c is
that of the class: all alike in the first epoch. SCE is KL plus what does not depend on x', so x' is
that of TRADES. With c scaled to the sum 1, wMSE is half the variance of z - z' under c, which is
how it is computed.

Certain (the released code): all of the above, alpha = 4, beta = 20, and temperature = 4 with gamma
= 1 or 1 with 0.2 (CIFAR-100: 0.4); five steps of eps/2, and an eps that grows over all of training
(`eps_warmup=1` of a recipe): its steps of 2 to 5 are overridden by the last. Temperature is that
of c alone, in its SCE it stays at 1. It trains with AWP of 0.005 from epoch 10 on, and averages.

Our choice: wMSE is divided by each sample's own sum of c_i c_j, theirs by the batch's mean of it,
which is the same for gamma = 1. Its second augmented view of each image is left out.
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
class GKL(Loss):
    """Cross-entropy plus a KL divergence in two parts, weighted by class (Cui et al. 2025).

    arXiv:2503.08038.
    """

    alpha: Annotated[Number, Field(ge=0, description="weight of the soft cross-entropy")] = 4.0
    beta: Annotated[
        Number, Field(ge=0, description="weight of the squared differences of logits")
    ] = 20.0
    temperature: Annotated[
        Number, Field(gt=0, description="divides the logits whose softmax weighs the classes")
    ] = 4.0
    gamma: Annotated[
        Number, Field(ge=0, description="exponent of these weights; 0 makes them all alike")
    ] = 1.0
    stateful: ClassVar[bool] = True
    inner: ClassVar[str | None] = "pgd:steps=5,rate=0.5,init=gaussian"
    climbs: ClassVar[str | None] = "kl-from-clean"

    def __call__(self, step: Step) -> Tensor:
        adversarial = step.at(step.adversary(self.climbs).x).logits
        clean = step.clean.logits
        soft = clean.detach()
        means = step.class_means("gkl", (soft / self.temperature).softmax(1), 1 / soft.shape[1])
        squares = weighted_squares(clean - adversarial, means**self.gamma)
        entropy = -(soft.softmax(1) * F.log_softmax(adversarial, 1)).sum(1)
        classification = F.cross_entropy(clean, step.y, reduction="none")
        return classification + self.beta * squares + self.alpha * entropy


def weighted_squares(gaps: Tensor, c: Tensor) -> Tensor:
    """[B] 1/4 sum_ij c_i c_j (d_i - d_j)^2 / sum_ij c_i c_j of gaps d and weights c [B,K]."""
    shares = c / c.sum(1, keepdim=True)
    centred = gaps - (shares * gaps).sum(1, keepdim=True)
    return (shares * centred.square()).sum(1) / 2
