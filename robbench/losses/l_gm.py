"""L-GM, large-margin Gaussian mixture: Wan, Zhong, Li and Chen 2018, arXiv:1803.02988.

    d_k = ||h - mu_k||^2 / 2,  z_k = -d_k,  mu_k learned
    CE(z - alpha d_y [k = y], y) + lam * d_y

The margin alpha is there in training only; the head, and so every attack, sees z. Gradient flows
through both terms to features and means. From the authors' code: covariance fixed to the identity,
and alpha = 0.1 with lam = 0.01 (TensorFlow demo, CIFAR-100); their Caffe example has lam = 0.1 and
doubles alpha every 5000 iterations up to 0.3. Ours has a constant alpha, and one learning rate for
all weights (Caffe: twice the rate for the means).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from robbench.core.spec import Number
from robbench.data.base import DataInfo
from robbench.losses.base import Loss, Step
from robbench.models.base import Classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class LGM(Loss):
    """Cross-entropy of a Gaussian mixture with a margin, plus its likelihood (Wan et al. 2018).

    arXiv:1803.02988.
    """

    alpha: Annotated[
        Number, Field(ge=0, description="margin: the true class' distance counts 1 + alpha times")
    ] = 0.1
    lam: Annotated[
        Number, Field(ge=0, description="weight of the likelihood term, half the squared distance")
    ] = 0.01

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        return model.with_head("gaussian")

    def __call__(self, step: Step) -> Tensor:
        z, y = step.out.logits, step.y[:, None]
        true = z.gather(1, y)  # -d_y
        with_margin = z.scatter_add(1, y, self.alpha * true)
        return F.cross_entropy(with_margin, step.y, reduction="none") - self.lam * true[:, 0]
