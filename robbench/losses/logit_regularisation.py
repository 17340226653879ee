"""CLP, clean logit pairing, and LSQ, logit squeezing: Kannan, Kurakin and Goodfellow 2018.

arXiv:1803.06373.

    CLP    CE(z(x~), y) + lam mean over pairs (i, j) of mean_k (z_k(x~_i) - z_k(x~_j))^2
    LSQ    CE(z(x~), y) + lam ||z(x~)||_2,   the norm and not its square
    x~ = clip(x + sigma N(0,1), 0, 1)

Both train without an inner attack. sigma = 0.5, the clipping and LSQ's lam = 0.5 are what the code
of Mosbach et al. 2018, arXiv:1810.12042, has for MNIST and CIFAR-10 (0.05 on Tiny ImageNet). Our
reading: CLP's lam = 0.5, and that the pairs are the first and second half of a batch, whatever
their classes; the last sample of an odd batch has no partner.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.spec import Number
from robbench.losses.base import Loss, Step

_STREAM = 0xC1EA  # noise is drawn apart from whatever else is drawn by a sample's key


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLP(Loss):
    """Cross-entropy plus squared logit gap of pairs, on noisy inputs (Kannan et al. 2018).

    arXiv:1803.06373.
    """

    lam: Annotated[Number, Field(ge=0, description="weight of the pairing")] = 0.5
    sigma: Annotated[
        Number, Field(ge=0, description="standard deviation of the noise on the inputs")
    ] = 0.5
    batch_coupled: ClassVar[bool] = True
    plain: ClassVar[bool] = True

    def __call__(self, step: Step) -> Tensor:
        logits = step.at(noisy(step, self.sigma)).logits
        return F.cross_entropy(logits, step.y, reduction="none") + self.lam * pair_distances(logits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LSQ(Loss):
    """Cross-entropy plus the L2 norm of the logits, on noisy inputs (Kannan et al. 2018).

    arXiv:1803.06373.
    """

    lam: Annotated[Number, Field(ge=0, description="weight of the norm")] = 0.5
    sigma: Annotated[
        Number, Field(ge=0, description="standard deviation of the noise on the inputs")
    ] = 0.5
    plain: ClassVar[bool] = True

    def __call__(self, step: Step) -> Tensor:
        logits = step.at(noisy(step, self.sigma)).logits
        norm: Tensor = torch.linalg.vector_norm(logits, dim=1)
        return F.cross_entropy(logits, step.y, reduction="none") + self.lam * norm


def noisy(step: Step, sigma: float) -> Tensor:
    """[B,*] the inputs plus noise by sample and epoch, clipped to [0,1]; x itself for sigma = 0."""
    if sigma == 0:
        return step.x
    noise = keyed.normal(keyed.fold(step.key, _STREAM), step.x.shape[1:], dtype=step.x.dtype)
    return (step.x + sigma * noise).clamp(0, 1)


def pair_distances(logits: Tensor) -> Tensor:
    """[B] mean squared difference of logits [B,K] to those of the partner in the other half.

    Scaled so that the mean over the batch is the mean over the pairs.
    """
    half = len(logits) // 2
    gaps = (logits[:half] - logits[half : 2 * half]).square().mean(1)
    alone = logits.new_zeros(len(logits) - 2 * half)
    return torch.cat([gaps, gaps, alone]) * (len(logits) / max(2 * half, 1))
