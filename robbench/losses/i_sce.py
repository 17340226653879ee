"""I-SCE, softmax cross-entropy with inference information: Song et al. 2022.

Mathematics 10(19), 3716; OpenReview hKps4HGGGx (ICLR 2021).

Certain is only that "margin-like" information is added to softmax cross-entropy. Everything below
is our reading, and results belong to the mode they were made with. With g = log(sum_{k != y}
e^{z_k}), every form is log(1 + exp(a - b)):

    additive          log(1 + e^s e^g / e^{z_y})       -log softmax with s taken from the true logit
    virtual-class     log(1 + (s + e^g) / e^{z_y})     one more wrong class, of logit log s
    multiplicative    log(1 + e^g / e^{z'})            z' = z_y / (1+s), or (1+s) z_y if z_y < 0

s = 0 is cross-entropy in every mode. Dividing negative logits too would help them, and equal logits
far below zero would solve everything: nothing is learned then. Only training knows s: the model's
logits stay plain.

The additive form is the inner maximum of cross-entropy over a box of logits,

    log(1 + e^s sum_{k != y} e^{z_k - z_y}) = max over |delta|_inf <= s/2 of CE(z + delta, y)

so it protects where the box covers the drop D of the log-odds that an attack causes. Nothing
bounds D: a network answers a larger s by larger logits, and D grows with them. What a large s (20
to 200) does change is the attack: in float32 cross-entropy has no gradient left from a log-odds of
about 90, and PGD on it stops. Margin attacks and Square do not: look at them before believing a
number. With bounded logits the box means something: space=cosine, scale cos(h, w_k) as in CosFace
(our extension). sampling=attack (ours too) takes s times the D that the inner attack causes as the
s of each sample, and trains at the clean input.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core import keyed
from robbench.core.spec import Number, Spec, require_unset
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.models.base import Classifier
from robbench.objectives import soft_margins

_STREAM = 0x15CE  # s is drawn apart from the inner attack's start, which has the same key


@dataclasses.dataclass(frozen=True, kw_only=True)
class ISCE(Loss):
    """Cross-entropy with a margin-like handicap s in training (Song et al. 2022; our reading).

    Mathematics 10(19), 3716.
    """

    mode: Annotated[
        Literal["additive", "virtual-class", "multiplicative"],
        Field(
            description="subtract s from the true logit, add a class of logit log s, "
            "or shrink the true logit by 1 + s"
        ),
    ] = "additive"
    s: Annotated[
        Number, Field(ge=0, description="size of the handicap, 0 = cross-entropy; try 1 to 200")
    ] = 1.0
    sampling: Annotated[
        Literal["fixed", "uniform", "half-normal", "annealed", "attack"],
        Field(
            description="per sample and epoch: s, U(0, s) or |N(0, s^2)|; "
            "annealed grows from 0 to s over training; attack: s times the drop of the log-odds "
            "under --inner"
        ),
    ] = "fixed"
    space: Annotated[
        Literal["logits", "cosine"],
        Field(description="of the logits: free, or bounded by `scale`"),
    ] = "logits"
    scale: Annotated[Number, Field(gt=0, description="of the cosines, in space=cosine")] = 15.0

    def __post_init__(self) -> None:
        if self.space != "cosine":
            require_unset(self, ("scale",), "loss i-sce", "space=cosine")

    @property
    def inner(self) -> str | None:
        return "fgsm" if self.sampling == "attack" else None

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        if self.space == "logits":
            return model
        return model.with_head(str(Spec("cosine", options={"scale": self.scale})))

    def __call__(self, step: Step) -> Tensor:
        logits = (step.clean if self.sampling == "attack" else step.out).logits
        s = self.draw(step)
        true = logits.gather(1, step.y[:, None])[:, 0]
        others = logits.masked_fill(
            F.one_hot(step.y, logits.shape[1]).bool(), -torch.inf
        ).logsumexp(1)
        if self.mode == "additive":
            return F.softplus(others + s - true)
        if self.mode == "virtual-class":
            return F.softplus(torch.logaddexp(others, s.log()) - true)
        return F.softplus(others - torch.where(true > 0, true / (1 + s), true * (1 + s)))

    def draw(self, step: Step) -> Tensor:
        """[B] the handicap of each sample: by its key, the attack or the progress of training."""
        if self.sampling == "attack":
            # Both without gradient: in training mode batch norm would differ, and count as drop.
            clean, attacked = (
                soft_margins(step.peek(x), step.y) for x in (step.x, step.adversary().x)
            )
            drop = clean - attacked
            step.log(drop=drop)
            return self.s * drop.clamp(min=0)
        if self.sampling in ("fixed", "annealed"):
            share = step.progress if self.sampling == "annealed" else 1.0
            return torch.full_like(step.y, self.s * share, dtype=torch.float32)
        key = keyed.fold(step.key, _STREAM)
        return self.s * (
            keyed.uniform(key, ()) if self.sampling == "uniform" else keyed.normal(key, ()).abs()
        )
