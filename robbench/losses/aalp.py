"""AALP, adaptive adversarial logits pairing: Wu, Sang, Xu, Zheng and Xu 2020, arXiv:2005.11904.

ALP (alp.py) with two modules, each of which can be switched off:

    guided dropout      z = head(m * h): drops the features h that contribute little to the class
    adaptive weights    CE + lam w |z - z'|^2: pairs samples that are classified badly less

Certain is only their purpose: robust models use fewer, high-contribution features, and for some
samples the pairing obstructs the classification. The formulas are our reading:

    c_i = h_i dz_class/dh_i
    m   = the fewest features, by falling c_i, whose max(c_i, 0) reach rho of the sum over all
    w   = p_y^exponent of the same logits as in the loss

Masks and weights are constants to the gradient, which flows through both branches as in ALP. A
sample without any positive contribution keeps all features. The inner attack and the trained model
see all of them too. (Guided dropout of arXiv:1812.03965 is another method.)

The class is the predicted one, because a mask chosen by the label leaks the label: without the
features that speak against a class, almost any network predicts that class, so training has nothing
to learn and ends at chance (tests/losses/test_aalp.py).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.core.spec import Number
from robbench.data.base import DataInfo
from robbench.losses.alp import ALP
from robbench.losses.base import Step
from robbench.models.base import Classifier
from robbench.models.contributions import contributions, kept

_STREAM = 0xAA1F  # dropout draws apart from the inner attack's start, which has the same key


@dataclasses.dataclass(frozen=True, kw_only=True)
class AALP(ALP):
    """ALP on few high-contribution features, weighted by sample (Wu et al. 2020, arXiv:2005.11904).

    arXiv:2005.11904.

    guided_dropout=false and adaptive_weights=false give the ablations. All formulas and defaults
    are our reading.
    """

    guided_dropout: Annotated[bool, Field(description="drop features of low contribution")] = True
    rho: Annotated[
        Number, Field(gt=0, le=1, description="part of the positive contributions that is kept")
    ] = 0.9
    drop: Annotated[
        Number, Field(ge=0, le=1, description="probability that a feature outside of it is dropped")
    ] = 1.0
    dropout_class: Annotated[
        Literal["predicted", "label"],
        Field(
            description="class whose logit is contributed to; "
            "a mask chosen by the label gives the label away in training"
        ),
    ] = "predicted"
    mask_from: Annotated[
        Literal["clean", "adversarial", "each"],
        Field(description="inputs whose contributions decide; each = a mask for each"),
    ] = "clean"
    rescale: Annotated[
        bool, Field(description="scale the kept features up by the share of all, as dropout does")
    ] = False
    start: Annotated[
        Number, Field(ge=0, lt=1, description="share of training before guided dropout begins")
    ] = 0.0
    ramp: Annotated[
        Number, Field(ge=0, le=1, description="share of training over which rho then falls from 1")
    ] = 0.0

    adaptive_weights: Annotated[bool, Field(description="weigh the pairing of each sample")] = True
    confidence: Annotated[
        Literal["clean", "adversarial", "min"],
        Field(description="inputs whose probability of the label is the weight"),
    ] = "clean"
    exponent: Annotated[Number, Field(ge=0, description="of that probability")] = 1.0
    normalise: Annotated[
        bool, Field(description="divide the weights by their mean over the batch")
    ] = False
    weigh_classification: Annotated[
        bool, Field(description="multiply the cross-entropy by 2 - p_y^exponent")
    ] = False

    @property
    def batch_coupled(self) -> bool:
        """Only normalised weights depend on the rest of the batch."""
        return self.adaptive_weights and self.normalise

    def check(self, info: DataInfo) -> None:
        if self.guided_dropout and self.start + self.ramp > 1:
            raise UserError(
                f"loss aalp: start={self.start:g} and ramp={self.ramp:g} are shares of training "
                "and exceed 1 together"
            )

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        if self.guided_dropout and model.features_dim == 0:
            raise UserError(
                "loss aalp drops features and the model has no nn.Linear that reads any; "
                "give guided_dropout=false"
            )
        return model

    def __call__(self, step: Step) -> Tensor:
        dropping = self.guided_dropout and step.progress >= self.start
        clean, adversarial = self.guided_logits(step) if dropping else self.logits(step)
        classification = self.classification(clean, adversarial, step.y)
        pairing = self.pairing(clean, adversarial)
        if self.adaptive_weights:
            log_weight = self.log_weight(clean, adversarial, step.y)
            weight = log_weight.softmax(0) * len(log_weight) if self.normalise else log_weight.exp()
            step.log(pairing_weight=weight)
            pairing = weight * pairing
            if self.weigh_classification:
                classification = (2 - log_weight.exp()) * classification
        return classification + self.lam * pairing

    def guided_logits(self, step: Step) -> tuple[Tensor, Tensor]:
        """[B,K] twice: clean and adversarial logits of the features that guided dropout leaves."""
        clean, adversarial = step.clean.features, step.at(step.adversary().x).features
        mask = self.mask(step, adversarial if self.mask_from == "adversarial" else clean)
        other = self.mask(step, adversarial) if self.mask_from == "each" else mask
        step.log(features_kept=(mask > 0).float().mean(1))
        return step.head(mask * clean), step.head(other * adversarial)

    def mask(self, step: Step, features: Tensor) -> Tensor:
        """[B,D] without gradient: 0 where a feature is dropped, else 1 (with `rescale`, more)."""
        share = min(1.0, (step.progress - self.start) / self.ramp) if self.ramp else 1.0
        c = contributions(step.head, features, step.y if self.dropout_class == "label" else None)
        draws = keyed.uniform(keyed.fold(step.key, _STREAM), c.shape[1:])
        mask = (kept(c, 1 - share * (1 - self.rho)) | (draws >= self.drop)).to(features.dtype)
        return mask / mask.mean(1, keepdim=True) if self.rescale else mask

    def log_weight(self, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """[B] without gradient: logarithm of the label's probability, times the exponent."""
        at_clean, at_adversarial = (
            -F.cross_entropy(z.detach(), y, reduction="none") for z in (clean, adversarial)
        )
        chosen = {
            "clean": at_clean,
            "adversarial": at_adversarial,
            "min": torch.minimum(at_clean, at_adversarial),
        }
        return self.exponent * chosen[self.confidence]
