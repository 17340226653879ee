"""GAIRAT, geometry-aware instance-reweighted adversarial training: Zhang et al. 2021 (ICLR).

arXiv:2010.01736.

    w CE(z', y),   z' at x' after K inner steps
    w = (1 + tanh(lam + 5 (1 - 2 kappa / K))) / 2, normalised to mean 1 over the batch

kappa is the number of inner steps a sample survives. Here: those before its first misclassified
point. The released code counts all points, before each of the K steps, that are classified
correctly; the two differ for a sample that is classified correctly again after it was not, where
ours is the smaller.

Certain (the released code): the weights and their normalisation, which carry no gradient, and lam =
-1 after a burn-in with all weights equal: 60 of 120 epochs for WideResNet-32-10, 30 of 100 for
ResNet-18. For odd K that code has K // 2 instead of K / 2.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number, require_unset
from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAIRAT(Loss):
    """Adversarial cross-entropy, weighted by how soon a sample falls (Zhang et al. 2021).

    arXiv:2010.01736.
    """

    lam: Annotated[
        Number, Field(description="shift of the weight: the larger, the more equal the weights")
    ] = -1.0
    weight: Annotated[
        Literal["tanh", "sigmoid", "discrete"],
        Field(
            description="(1 + tanh(a)) / 2 or sigmoid(a) of a = lam + 5 (1 - 2 kappa / K), "
            "or (K + 1 - kappa) / (K + 1)"
        ),
    ] = "tanh"
    burn_in: Annotated[
        Number, Field(ge=0, le=1, description="share of training before the weights set in")
    ] = 60 / 120
    batch_coupled: ClassVar[bool] = True
    inner: ClassVar[str | None] = "pgd:steps=10"

    def __post_init__(self) -> None:
        if self.weight == "discrete":
            require_unset(self, ("lam",), "loss gairat", "weight=tanh or sigmoid")

    def __call__(self, step: Step) -> Tensor:
        found = step.adversary()
        value = F.cross_entropy(step.at(found.x).logits, step.y, reduction="none")
        step.log(kappa=found.survived)
        if step.progress < self.burn_in:
            return value
        return len(value) * self.log_weights(found.survived, found.steps).softmax(0) * value

    def log_weights(self, kappa: Tensor, steps: int) -> Tensor:
        """[B] logarithms of the weights before they are normalised; the weights may underflow."""
        if self.weight == "discrete":
            return torch.log1p(-kappa / (steps + 1))
        a = self.lam + 5 * (1 - 2 * kappa / steps)
        # sigmoid(2 a) = (1 + tanh a) / 2.
        return F.logsigmoid(2 * a if self.weight == "tanh" else a)
