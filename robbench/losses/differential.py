"""Differential training: Nar, Ocal, Sastry and Ramchandran 2019, arXiv:1901.08360.

The loss sees only differences of the scores s = w . phi(x) of opposite classes, D_ij = s(x_i) -
s(x_j) for i in class 1 and j in class 0, so no bias enters it:

    logistic        mean_ij log(1 + exp(-D_ij))      the linear form: reaches the SVM's direction
    square          mean_ij (D_ij - target)^2        the form for networks (our reading)
    squared-hinge   mean_ij max(0, target - D_ij)^2

Our reading also: means where the paper writes sums, and all cross pairs of a batch. The threshold
is set afterwards from the training scores (losses/thresholds.py); `extreme` is the maximum-margin
one of the linear theory.

More than two classes are our extension, no part of the paper: every pair of samples of different
classes a, c counts, with D_ij = (w_a - w_c) . (phi(x_i) - phi(x_j)), which for two classes is the D
above.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.core.spec import Number, require_unset
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.losses.thresholds import Rule, biases, threshold
from robbench.models.base import Classifier

_STREAM = 0xD1FF  # pairs are drawn apart from whatever else is drawn by a sample's key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differential(Loss):
    """Differential training of two classes: pairs of opposite classes, no bias (Nar et al. 2019).

    arXiv:1901.08360.

    Use form=logistic for a linear model (the paper's theorem) and form=square for networks (our
    reading).
    """

    form: Annotated[
        Literal["logistic", "square", "squared-hinge"], Field(description="loss of one pair")
    ] = "square"
    target: Annotated[
        Number, Field(gt=0, description="wanted score difference, for the square forms")
    ] = 1.0
    pairing: Annotated[
        Literal["all", "random"],
        Field(
            description="pairs of a batch: all of different classes, or one at random per sample"
        ),
    ] = "all"
    bias: Annotated[
        Rule,
        Field(
            description="threshold after training: best training accuracy (middle of the widest "
            "such gap; on separable data the same as extreme), midpoint of the extreme scores, "
            "of their quantiles, or of the class means"
        ),
    ] = "accuracy"
    quantile: Annotated[
        Number,
        Field(ge=0, lt=0.5, description="share of each class beyond the quantile of that rule"),
    ] = 0.05
    multiclass: Annotated[
        bool, Field(description="allow more than two classes: our extension, not the paper's")
    ] = False
    batch_coupled: ClassVar[bool] = True
    fits_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.form == "logistic":
            require_unset(self, ("target",), "loss differential", "form=square or squared-hinge")
        if self.bias != "quantile":
            require_unset(self, ("quantile",), "loss differential", "bias=quantile")

    def check(self, info: DataInfo) -> None:
        if len(info.classes) != 2 and not (self.multiclass and len(info.classes) > 2):
            raise UserError(
                f"loss differential works on 2 classes, the data has {len(info.classes)}; "
                f"choose a pair such as --data 'NAME[{info.classes[0]},{info.classes[-1]}]', "
                "or our extension with --loss differential:multiclass=true"
            )

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        return model.with_head("score" if len(info.classes) == 2 else "scores")

    def __call__(self, step: Step) -> Tensor:
        logits, y = step.out.logits, step.y[:, None]
        # [B,B] z_a - z_c of i; a, c: classes of i, j.
        lead = logits.gather(1, y) - logits[:, step.y]
        gap = lead + lead.T  # without the bias: it has opposite signs in the two
        pair = y != y.T
        if self.pairing == "random":
            draws = keyed.uniform(keyed.fold(step.key, _STREAM), (len(y),)).masked_fill(~pair, -1)
            pair &= draws == draws.amax(1, keepdim=True)
        values = torch.where(pair, self.of_gap(gap), torch.zeros_like(gap))
        # Each sample's mean over its partners; of two classes and all pairs, the batch mean is the
        # mean over the pairs.
        return values.sum(1) / pair.sum(1).clamp(min=1)

    def of_gap(self, gap: Tensor) -> Tensor:
        """The loss of score differences, element-wise."""
        if self.form == "logistic":
            return F.softplus(-gap)
        short = self.target - gap
        return short.square() if self.form == "square" else short.clamp(min=0).square()

    def fit_head(self, head: nn.Module, features: Tensor, labels: Tensor) -> None:
        scores = head.score(features)  # type: ignore[operator]
        if scores.ndim == 1:
            high, low = scores[labels == 1], scores[labels == 0]
            head.get_buffer("bias").fill_(threshold(high, low, self.bias, self.quantile))
        else:
            head.get_buffer("bias").copy_(biases(scores, labels, self.bias, self.quantile))
