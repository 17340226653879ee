"""Softmax cross-entropy.

With PGD as inner attack: adversarial training of Madry et al. 2018, arXiv:1706.06083, eq. 2.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional as F

from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """logsumexp(z) - z_y at the clean input, or at the inner attack's point (Madry et al. 2018)."""

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(step.out.logits, step.y, reduction="none")
