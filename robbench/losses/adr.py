"""ADR, annealing self-distillation rectification: Wu, Wang and Chen 2024 (ICLR), arXiv:2305.12118.

    CE(z(x'), P) = -sum_k P_k log softmax(z(x'))_k,   x' climbs it too
    P = w t + (1 - w) onehot(y),   w = clip(lam - (max_k t_k - t_y), 0, 1)
    t = softmax(u(x) / T),   u the average of the weights over training

So a sample's label is as soft as the teacher is right about it. Along half a cosine over training T
falls and lam grows.

Certain (the released code): the above, with P and t without gradient, the average in evaluation
mode, T from 2.5 to 2 and lam from 0.7 to 0.95 on CIFAR-10 with a ResNet-18, whose average decays
by 0.995 (`ema_decay=0.995`). Left out: the variant on TRADES, with P in the clean term alone. Our
reading: an attack of ten steps from a uniform start.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number, Share
from robbench.losses.base import AVERAGE, Loss, Step
from robbench.objectives import SoftCrossEntropy

Temperature = Annotated[Number, Field(gt=0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ADR(Loss):
    """Adversarial cross-entropy to labels softened by the weights' average (Wu et al. 2024).

    arXiv:2305.12118.
    """

    temperature: Annotated[
        Temperature, Field(description="what the teacher's logits are divided by, at first")
    ] = 2.5
    last_temperature: Annotated[Temperature, Field(description="the same, in the end")] = 2.0
    lam: Annotated[
        Share, Field(description="share of the teacher in the label where it is right, at first")
    ] = 0.7
    last_lam: Annotated[Share, Field(description="the same, in the end")] = 0.95
    inner: ClassVar[str | None] = "pgd:steps=10"
    climbs: ClassVar[str | None] = "cross-entropy"

    @property
    def teacher(self) -> str | None:
        return AVERAGE

    def __call__(self, step: Step) -> Tensor:
        # Once: with weight perturbation the second call meets the same points.
        climbed = step.once("adr", lambda: SoftCrossEntropy(targets=self.labels(step)))
        adversarial = step.at(step.adversary(climbed).x).logits
        return F.cross_entropy(adversarial, climbed.targets, reduction="none")

    def labels(self, step: Step) -> Tensor:
        """[B,K] the rectified labels P, rows of sum 1."""
        temperature = annealed(self.temperature, self.last_temperature, step.progress)
        lam = annealed(self.lam, self.last_lam, step.progress)
        taught = (step.teacher(step.x) / temperature).softmax(1)
        lead = taught.amax(1) - taught.gather(1, step.y[:, None])[:, 0]
        weight = (lam - lead).clamp(0, 1)[:, None]
        return weight * taught + (1 - weight) * F.one_hot(step.y, taught.shape[1])


def annealed(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine; progress in [0,1]."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
