"""Center loss: Wen, Zhang, Li and Qiao 2016, ECCV.

"A Discriminative Feature Learning Approach for Deep Face Recognition".

    CE(z, y) + (lam / 2) ||h - c_y||^2
    c_j <- c_j - rate * sum_{y_n = j} (c_j - h_n) / (1 + #{y_n = j})     after each batch

The centres are a buffer of the head and part of the checkpoint. Only this rule moves them: no
gradient, optimizer or weight decay changes them. They move at each call in training mode, after its
values are made. Gradient reaches the features, not the centres.

Our reading: lam = 0.003 and rate = 0.5, from the paper's faces; features where the head reads them,
at the inner attack's points if there are any; centres that start at zero. The widespread PyTorch
port is another loss: no 1/2, lam = 1, and random centres that SGD moves with a rate of 0.5.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.models.base import Classifier
from robbench.models.heads import CenterHead


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterLoss(Loss):
    """Cross-entropy plus squared distance of features to their class centre (Wen et al. 2016)."""

    lam: Annotated[
        Number, Field(ge=0, description="weight of half the squared distance (our reading)")
    ] = 0.003
    rate: Annotated[
        Number, Field(ge=0, le=1, description="how fast centres follow the features (our reading)")
    ] = 0.5

    batch_coupled: ClassVar[bool] = True  # through the centres, which move with the whole batch
    stateful: ClassVar[bool] = True

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        return model.with_head("center")

    def __call__(self, step: Step) -> Tensor:
        head, (logits, features) = step.head, step.out
        assert isinstance(head, CenterHead), "prepare() puts it there"
        distance = (features - head.centers[step.y]).square().sum(1)
        if head.training:
            head.move_centers(features, step.y, self.rate)
        return F.cross_entropy(logits, step.y, reduction="none") + self.lam / 2 * distance
