"""The last layer: from features [B,D] to logits [B,K]."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.core.errors import UserError, unknown
from robbench.core.spec import parse_spec


class ScoreHead(nn.Module):
    """The one-score head of differential training (Nar et al. 2019, arXiv:1901.08360) for two classes.

    The score s = features . weight has no bias: a bias cancels in the differences the loss is made of. The threshold is the
    buffer `bias` [1], set once after training. Logits are (-(s+b)/2, (s+b)/2), so that their difference is s + b and class 1
    is predicted where it is positive.
    """

    bias: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(features)
        self.weight = nn.Parameter(torch.empty(1, features).uniform_(-bound, bound))  # a matrix, so that it decays like one
        self.register_buffer("bias", torch.zeros(1))

    def score(self, features: Tensor) -> Tensor:
        """[B]: the score without its threshold."""
        return F.linear(features, self.weight)[:, 0]

    def forward(self, features: Tensor) -> Tensor:
        """[B,2] logits."""
        half = (self.score(features) + self.bias) / 2
        return torch.stack([-half, half], dim=1)


def build_head(spec: str, features: int, classes: int) -> nn.Module:
    """A fresh head from `linear` (weight [K,D] and bias [K]) or `score`. UserError for another name or number of classes."""
    parsed = parse_spec(spec)
    if parsed.argument is not None or parsed.options:
        raise UserError(f"head {parsed.name} has no options, '{spec}' gives some")
    if parsed.name == "linear":
        return nn.Linear(features, classes)
    if parsed.name == "score":
        if classes != 2:
            raise UserError(
                f"the one-score head is for two classes, the data have {classes}; choose two, as in cifar10[airplane,horse]"
            )
        return ScoreHead(features)
    raise unknown("head", parsed.name, ("linear", "score"))
