"""ALP, adversarial logit pairing: Kannan, Kurakin and Goodfellow 2018, arXiv:1803.06373.

    clean CE(z, y) + (1 - clean) CE(z', y) + lam mean_k (z_k - z'_k)^2
    z = z(x), z' = z(x'), x' by the inner attack

From the authors' code: clean = 1/2 (the mean over a batch of clean and adversarial halves), lam =
0.5, the square as a mean over classes too, gradients through both branches. Later papers mean other
sums by the same name: in tables such as MART's, ALP is `clean=0,space=probs,reduction=sum` and
"CLP" is `clean=1,space=probs,reduction=sum`.

Our reading: each half is a batch of its own for batch-norm, and the inner attack is an untargeted
PGD of 10 steps (the code's ImageNet models were trained against targeted attacks on the least
likely class).

Logged: `conflict`, the share of samples for which a step that lowers the pairing would raise the
cross-entropy, were the logits free. In logit space that is none at clean = 1/2, as the gradient
of a convex function is monotone: (softmax(z) - softmax(z')) . (z - z') >= 0.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number, Share
from robbench.losses.base import Loss, Step

_ROUNDING = 1e-5  # of a cosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class ALP(Loss):
    """Cross-entropy plus squared gap of clean and adversarial logits (Kannan et al. 2018).

    arXiv:1803.06373.
    """

    lam: Annotated[Number, Field(ge=0, description="weight of the pairing")] = 0.5
    clean: Annotated[
        Share,
        Field(description="share of the clean inputs in the cross-entropy; 0 = adversarial only"),
    ] = 0.5
    space: Annotated[
        Literal["logits", "probs"],
        Field(description="what is paired: logits or softmax probabilities"),
    ] = "logits"
    reduction: Annotated[
        Literal["mean", "sum"], Field(description="of the squares over the classes")
    ] = "mean"
    inner: ClassVar[str | None] = "pgd:steps=10"

    def __call__(self, step: Step) -> Tensor:
        clean, adversarial = self.logits(step)
        step.log(conflict=self.conflict(clean, adversarial, step.y).float())
        return self.classification(clean, adversarial, step.y) + self.lam * self.pairing(
            clean, adversarial
        )

    def logits(self, step: Step) -> tuple[Tensor, Tensor]:
        """[B,K] twice: at the inputs and at the inner attack's points."""
        return step.clean.logits, step.at(step.adversary().x).logits

    def classification(self, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """[B] the mixed cross-entropy."""
        at_clean, at_adversarial = (
            F.cross_entropy(z, y, reduction="none") for z in (clean, adversarial)
        )
        return self.clean * at_clean + (1 - self.clean) * at_adversarial

    def pairing(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """[B] the squared distance of the two."""
        if self.space == "probs":
            clean, adversarial = clean.softmax(1), adversarial.softmax(1)
        squares = (clean - adversarial).square()
        return squares.mean(1) if self.reduction == "mean" else squares.sum(1)

    def conflict(self, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """[B] bool: the gradients of pairing and cross-entropy at the logits oppose each other."""
        with torch.enable_grad():
            z, a = (logits.detach().requires_grad_() for logits in (clean, adversarial))
            one, other = (
                torch.cat(torch.autograd.grad(loss.sum(), (z, a), materialize_grads=True), 1)
                for loss in (self.classification(z, a, y), self.pairing(z, a))
            )
        return F.cosine_similarity(one, other, eps=0.0) < -_ROUNDING
