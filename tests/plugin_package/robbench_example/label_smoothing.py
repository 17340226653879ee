"""Cross-entropy with smoothed labels: Szegedy et al. 2016, arXiv:1512.00567, section 7."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.losses.base import Loss, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Loss):
    """Cross-entropy where every class gets a share of the label (arXiv:1512.00567)."""

    share: Annotated[
        float, Field(ge=0, lt=1, description="probability spread over all classes")
    ] = 0.1

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(
            step.out.logits, step.y, reduction="none", label_smoothing=self.share
        )
