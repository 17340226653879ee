"""Label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.

    - sum_k q_k log p_k,   q = (1 - smoothing) onehot(y) + smoothing / K

The uniform part includes the true class. At the clean input, or at the inner attack's point when
the recipe has one.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Loss):
    """Cross-entropy with a share of the label spread over all classes (Szegedy et al. 2016).

    arXiv:1512.00567.
    """

    smoothing: Annotated[
        Number, Field(ge=0, lt=1, description="share of the label that is spread; 0.1 is usual")
    ] = 0.1

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(
            step.out.logits, step.y, reduction="none", label_smoothing=self.smoothing
        )
