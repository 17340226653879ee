"""MMC: Pang, Xu, Dong, Du, Chen and Zhu 2020, arXiv:1905.10626; MMLDA: Pang, Du and Zhu 2018.

    z_k = -||h - mu_k||^2
    mu_k: fixed, of length C, as far apart as possible: mu_j . mu_k = -C^2 / (K-1)
    MMC     ||h - mu_y||^2 = -z_y              no softmax: classes do not compete
    MMLDA   cross-entropy of the softmax of z

From the authors' code: C = 10, a linear layer of 256 units before the centres (features after a
ReLU cannot come near most of the centres), no factor 1/2, and adversarial training at the points of
PGD on cross-entropy. Our reading: the paper has that 1/2 (`factor`); the layer starts as torch's
layers do, theirs with He's normal and zero bias.

Attack it with `pgd:objective=true-logit`, which climbs ||h - mu_y||^2: the adaptive attack of the
authors' README, also good as the inner attack. Cross-entropy has no gradient left in float32 from a
margin of about 100, and two of ten centres are 222 apart.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional as F

from robbench.core.errors import UserError
from robbench.core.spec import Spec, option_names
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.models.base import Classifier
from robbench.models.heads import MaxMahalanobis, Width


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMC(MaxMahalanobis, Loss):
    """Squared distance to the fixed Max-Mahalanobis centre of the class (Pang et al. 2020).

    arXiv:1905.10626.
    """

    width: Width = 256

    def check(self, info: DataInfo) -> None:
        if len(info.classes) < 2:
            raise UserError("Max-Mahalanobis centres need two classes or more, the data has one")
        if self.width is not None and self.width < len(info.classes) - 1:
            raise UserError(
                f"centres of {len(info.classes)} classes need width={len(info.classes) - 1} "
                f"or more, not {self.width}"
            )

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        options = {name: getattr(self, name) for name in option_names(MaxMahalanobis)}
        model = model.with_head(str(Spec("max-mahalanobis", options=options)))
        if not any(weight.requires_grad for weight in model.parameters()):
            raise UserError(
                "the centres are fixed and the model has no other layer, "
                "so nothing can be trained; give width=256"
            )
        return model

    def __call__(self, step: Step) -> Tensor:
        return -step.out.logits.gather(1, step.y[:, None])[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MMLDA(MMC):
    """Cross-entropy on distances to fixed Max-Mahalanobis centres (Pang et al. 2018, 2020).

    arXiv:1905.10626.
    """

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(step.out.logits, step.y, reduction="none")
