"""Differential training: Nar, Ocal, Sastry and Ramchandran 2019, arXiv:1901.08360.

The loss sees only differences of the scores s = w . phi(x) of opposite classes, D_ij = s(x_i) - s(x_j) for i in class 1 and
j in class 0, so no bias enters it:

    logistic        mean_ij log(1 + exp(-D_ij))      the linear form; gradient descent reaches the SVM's direction
    square          mean_ij (D_ij - target)^2        the deep form (our reading: the paper changes the loss for networks)
    squared-hinge   mean_ij max(0, target - D_ij)^2

Our reading also: means where the paper writes sums, and all cross pairs of a batch. The threshold is set afterwards from the
training scores; `extreme` is the maximum-margin one of the linear theory, b = -(min_i s_i + max_j s_j) / 2.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.core.errors import UserError
from robbench.core.spec import Number
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.models.base import Classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differential(Loss):
    """Differential training of two classes (Nar et al. 2019, arXiv:1901.08360): pairs of opposite classes, no bias.

    Use form=logistic for a linear model (the paper's theorem) and form=square for networks (our reading).
    """

    form: Annotated[Literal["logistic", "square", "squared-hinge"], Field(description="loss of one pair")] = "square"
    target: Annotated[Number, Field(gt=0, description="wanted score difference, for the square forms")] = 1.0
    bias: Annotated[
        Literal["accuracy", "extreme", "mean"],
        Field(description="threshold after training: best training accuracy (middle of the widest such gap; on separable "
              "data the same as extreme), midpoint of the extreme scores, or of the class means"),
    ] = "accuracy"  # fmt: skip
    batch_coupled: ClassVar[bool] = True
    fits_head: ClassVar[bool] = True

    def check(self, info: DataInfo) -> None:
        if len(info.classes) != 2:
            raise UserError(
                f"loss differential works on 2 classes, the data has {len(info.classes)}; "
                f"choose a pair such as --data 'NAME[{info.classes[0]},{info.classes[-1]}]'"
            )

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        return model.with_head("score")

    def __call__(self, step: Step) -> Tensor:
        logits = step.out.logits
        s = logits[:, 1] - logits[:, 0]
        gap = s[:, None] - s[None, :]  # [B,B]; the bias cancels
        pair = (step.y[:, None] == 1) & (step.y[None, :] == 0)
        values = torch.where(pair, self.of_gap(gap), torch.zeros_like(gap))
        # Each sample's mean over its opposite class: the batch mean is then the mean over all pairs.
        partners = torch.where(step.y == 1, pair.sum(1), pair.sum(0)).clamp(min=1)
        return (values.sum(1) + values.sum(0)) / partners

    def of_gap(self, gap: Tensor) -> Tensor:
        """The loss of score differences, element-wise."""
        if self.form == "logistic":
            return F.softplus(-gap)
        short = self.target - gap
        return short.square() if self.form == "square" else short.clamp(min=0).square()

    def fit_head(self, head: nn.Module, features: Tensor, labels: Tensor) -> None:
        score = head.score(features)  # type: ignore[operator]
        head.get_buffer("bias").fill_(threshold(score[labels == 1], score[labels == 0], self.bias))


def threshold(high: Tensor, low: Tensor, rule: str) -> float:
    """The bias b that makes s + b > 0 mean class 1, from training scores of class 1 [n] and class 0 [m]."""
    if not len(high) or not len(low):
        return 0.0
    if rule == "mean":
        return float(-(high.mean() + low.mean()) / 2)
    if rule == "extreme":
        return float(-(high.min() + low.max()) / 2)
    scores, order = torch.cat([high, low]).sort()
    is_high = torch.cat([torch.ones_like(high), torch.zeros_like(low)])[order]
    # Cut c lies below score c; the first and last have all scores on one side, at a distance of 1 (any would do).
    right = F.pad((1 - is_high).cumsum(0), (1, 0)) + F.pad(is_high.flip(0).cumsum(0).flip(0), (0, 1))
    edges = torch.cat([scores[:1] - 2, scores, scores[-1:] + 2])
    gap, middle = edges.diff(), (edges[1:] + edges[:-1]) / 2
    gap[0], gap[-1] = torch.finfo(gap.dtype).tiny, torch.finfo(gap.dtype).tiny  # only where nothing inside is as good
    possible = torch.where(gap > 0, right, -1)  # equal scores cannot be cut apart
    return float(-middle[torch.where(possible == possible.max(), gap, -1).argmax()])
