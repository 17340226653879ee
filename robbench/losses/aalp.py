"""AALP, adaptive adversarial logits pairing: Wu, Sang, Xu, Zheng and Xu 2020, arXiv:2005.11904.

ALP (alp.py) with two modules, each of which can be switched off:

    guided dropout      z = head(m * h): drops the features h that contribute little to the class
    adaptive weights    w of each sample balances CE and lam |z - z'|^2

Certain is only their purpose: robust models use fewer, high-contribution features, and for some
samples the pairing obstructs the classification. The formulas are our reading:

    c_i = h_i dz_k/dh_i, k the predicted class of h
    m_i = 1 for the fewest features, by falling c_i, whose max(c_i, 0) reach rho of the sum over
          all; each other one is 0 with probability `drop`
          (rate=rank: 0 with probability drop i/(D-1) for the i-th by falling c_i, from i = 0;
          drops=high, a control: the same of those within rho, or by rising c_i)
    w   = p_y^exponent, or 1 where the sample is classified right, or where there is no conflict
          (alp.py), else 0; of the same logits as in the loss
    CE + w lam LP,  or (2 - w) CE + w lam LP,  or (1 - w) CE + w lam LP       (balance)

Masks and weights are constants to the gradient, which flows through both branches as in ALP. With
rate=flat a sample without any positive contribution keeps all features. The trained model sees all
of them, and so does the inner attack unless `attack_masked`. (Guided dropout of arXiv:1812.03965 is
another method.)

A mask must not bring the class with it: without the features that speak against a class, almost
any features are classified as that class. So each branch has the mask of its own features, which
leaves its prediction as it is. A mask of the clean input in the adversarial branch (mask_from=
clean) hands over the class, the more surely the better x is classified: the adversarial
cross-entropy vanishes, and there is nothing to learn from it. Logged are `leak`, the share of other
samples' features that the mask rule turns into a sample's class, beside `leak_unmasked`, the share
without a mask; and the cross-entropies at x' with and without it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.core.spec import Number, require_unset
from robbench.data.base import DataInfo
from robbench.losses.alp import ALP
from robbench.losses.base import Step
from robbench.models.base import Classifier
from robbench.models.contributions import contributions, kept

_STREAM = 0xAA1F  # dropout draws apart from the inner attack's start, which has the same key
_OF_DROPOUT = (
    *("rho", "drop", "drops", "rate", "granularity", "mask_from"),
    *("rescale", "start", "ramp", "attack_masked"),
)
_OF_WEIGHTS = ("weight", "balance", "confidence", "exponent", "normalise")

Masks = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AALP(ALP):
    """ALP on few high-contribution features, weighted by sample (Wu et al. 2020, arXiv:2005.11904).

    guided_dropout=false and adaptive_weights=false give the ablations. All formulas and defaults
    are our reading.
    """

    guided_dropout: Annotated[bool, Field(description="drop features of low contribution")] = True
    rho: Annotated[
        Number, Field(gt=0, le=1, description="part of the positive contributions that is kept")
    ] = 0.9
    drop: Annotated[
        Number, Field(ge=0, le=1, description="probability that a feature outside of it is dropped")
    ] = 0.5
    drops: Annotated[
        Literal["low", "high"],
        Field(description="features of low contribution, or of high ones as a control"),
    ] = "low"
    rate: Annotated[
        Literal["flat", "rank"],
        Field(description="of dropping: the same outside of rho, or rising to drop by rank"),
    ] = "flat"
    granularity: Annotated[
        Literal["sample", "batch"],
        Field(description="a mask for each sample, or one by the batch's mean contributions"),
    ] = "sample"
    mask_from: Annotated[
        Literal["each", "clean", "adversarial"],
        Field(
            description="inputs whose contributions decide: those of each branch; the mask of "
            "one branch gives its class away to the other"
        ),
    ] = "each"
    rescale: Annotated[
        bool, Field(description="scale the kept features up by the share of all, as dropout does")
    ] = True
    start: Annotated[
        Number, Field(ge=0, lt=1, description="share of training before guided dropout begins")
    ] = 0.0
    ramp: Annotated[
        Number, Field(ge=0, le=1, description="share of training over which it then sets in")
    ] = 0.0
    attack_masked: Annotated[
        bool, Field(description="the inner attack sees the masked features too")
    ] = False

    adaptive_weights: Annotated[bool, Field(description="weigh the pairing of each sample")] = True
    weight: Annotated[
        Literal["probability", "correct", "no-conflict"],
        Field(
            description="w: the label's probability, or 1 and 0: where the sample is classified "
            "right, or pairing does not oppose the cross-entropy"
        ),
    ] = "probability"
    balance: Annotated[
        Literal["pairing", "both", "convex"],
        Field(description="w weighs the pairing; the cross-entropy by 1, by 2 - w or by 1 - w"),
    ] = "pairing"
    confidence: Annotated[
        Literal["clean", "adversarial", "min"],
        Field(description="inputs whose probability of the label is the weight"),
    ] = "clean"
    exponent: Annotated[Number, Field(ge=0, description="of that probability")] = 1.0
    normalise: Annotated[
        bool, Field(description="divide the pairing's weights by their mean over the batch")
    ] = False

    def __post_init__(self) -> None:
        for needs, read, names in (
            ("guided_dropout=true", self.guided_dropout, _OF_DROPOUT),
            ("adaptive_weights=true", self.adaptive_weights, _OF_WEIGHTS),
            ("rate=flat", self.rate == "flat", ("rho",)),
            ("weight=probability", self.weight == "probability", ("confidence", "exponent")),
        ):
            if not read:
                require_unset(self, names, "loss aalp", needs)

    @property
    def batch_coupled(self) -> bool:
        """Normalised weights and a mask of the batch depend on the rest of it."""
        return (self.adaptive_weights and self.normalise) or (
            self.guided_dropout and self.granularity == "batch"
        )

    def check(self, info: DataInfo) -> None:
        if self.start + self.ramp > 1:
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
        conflict = self.conflict(clean, adversarial, step.y)
        step.log(conflict=conflict.float())
        if self.adaptive_weights:
            log_weight = self.log_weight(clean, adversarial, step.y, conflict)
            w = log_weight.exp()
            relative = log_weight.softmax(0).nan_to_num() * len(w) if self.normalise else w
            step.log(pairing_weight=relative)
            pairing = relative * pairing
            if self.balance != "pairing":
                classification = ((2 if self.balance == "both" else 1) - w) * classification
        return classification + self.lam * pairing

    # -- guided dropout

    def guided_logits(self, step: Step) -> tuple[Tensor, Tensor]:
        """[B,K] twice: clean and adversarial logits of the features that guided dropout leaves."""
        h = step.clean.features
        found = step.at(self._masked_adversary(step) if self.attack_masked else step.adversary().x)
        masks = self.masks(step, h, found.features)
        clean, adversarial = (step.head(masks(g) * g) for g in (h, found.features))
        self._log(step, masks, adversarial, found.logits, found.features)
        step.log(features_kept=(masks(h) > 0).float().mean(1))
        return clean, adversarial

    def _masked_adversary(self, step: Step) -> Tensor:
        masks = self.masks(step, step.clean.features, None)
        make = functools.partial(step.adversary, head=lambda g: step.head(masks(g) * g))
        return step.once("masked adversary", make).x

    def masks(self, step: Step, clean: Tensor, adversarial: Tensor | None) -> Masks:
        """The mask [B,D] for features [B,D], from those of both inputs as far as they are known."""
        own = self.mask_from == "each" or (self.mask_from == "adversarial" and adversarial is None)
        if own and self.granularity == "sample":
            return lambda features: self.mask(step, self._contributions(step, features))
        sources = {"each": (clean, adversarial), "clean": (clean,), "adversarial": (adversarial,)}
        known = [h for h in sources[self.mask_from] if h is not None] or [clean]
        c = torch.stack([self._contributions(step, h) for h in known]).mean(0)
        mask = self.mask(step, c)
        return lambda features: mask

    def mask(self, step: Step, c: Tensor) -> Tensor:
        """[B,D] 0 where a feature of contribution c [B,D] is dropped, else 1 (or more: rescale)."""
        share = min(1.0, (step.progress - self.start) / self.ramp) if self.ramp else 1.0
        key = step.key[:1].expand_as(step.key) if self.granularity == "batch" else step.key
        draws = keyed.uniform(keyed.fold(key, _STREAM), c.shape[1:])
        low = self.drops == "low"
        if self.rate == "rank":
            rank = c.argsort(dim=1, descending=low, stable=True).argsort(1)
            keep = draws >= share * self.drop * rank / max(c.shape[1] - 1, 1)
        else:
            high = kept(c, 1 - share * (1 - self.rho) if low else share * self.rho)
            keep = (high if low else ~high | (c <= 0)) | (draws >= self.drop)
        mask = keep.to(c.dtype)
        return mask / mask.mean(1, keepdim=True).clamp(min=1 / c.shape[1]) if self.rescale else mask

    def _contributions(self, step: Step, features: Tensor) -> Tensor:
        c = contributions(step.head, features, None)
        return c.mean(0, keepdim=True).expand_as(c) if self.granularity == "batch" else c

    def _log(
        self, step: Step, masks: Masks, masked: Tensor, unmasked: Tensor, features: Tensor
    ) -> None:
        """Whether the masks say the class; logits [B,K] and features [B,D] are at x'."""
        others = features.detach().roll(1, 0)
        mine = step.clean.logits.argmax(1)
        with torch.no_grad():
            step.log(
                leak=(step.head(masks(others) * others).argmax(1) == mine).float(),
                leak_unmasked=(step.head(others).argmax(1) == mine).float(),
                ce_masked=F.cross_entropy(masked, step.y, reduction="none"),
                ce_unmasked=F.cross_entropy(unmasked, step.y, reduction="none"),
            )

    # -- adaptive weights

    def log_weight(self, clean: Tensor, adversarial: Tensor, y: Tensor, conflict: Tensor) -> Tensor:
        """[B] without gradient: the logarithm of w."""
        if self.weight != "probability":
            one = clean.argmax(1) == y if self.weight == "correct" else ~conflict
            return one.to(clean.dtype).log()
        at_clean, at_adversarial = (
            -F.cross_entropy(z.detach(), y, reduction="none") for z in (clean, adversarial)
        )
        chosen = {
            "clean": at_clean,
            "adversarial": at_adversarial,
            "min": torch.minimum(at_clean, at_adversarial),
        }
        return self.exponent * chosen[self.confidence]
