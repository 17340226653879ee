"""The last layer: from features [B,D] to logits [B,K].

    linear             weight [K,D] and bias [K]
    score              one direction for two classes (differential training)
    scores             a direction for each of more classes (our extension of it)
    max-mahalanobis    -factor ||h - mu_k||^2, fixed centres as far apart as can be (MMC, MMLDA)
    gaussian           -||h - mu_k||^2 / 2 with learned means (L-GM)
    center             linear, and a centre of each class beside it (center loss)
    cosine             scale cos(h, w_k): logits that no scale of features or weights can raise

A head's spec is stored in the checkpoint and builds it again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.core.errors import UserError, unknown
from robbench.core.spec import Number, OrNone, build, parse_spec

Width = Annotated[
    Annotated[int, Field(ge=1)] | None,
    OrNone,
    Field(
        description=(
            "units of a linear layer before the centres, none = no such layer; classes - 1 or more"
        )
    ),
]


class ScoreHead(nn.Module):
    """The one-score head of differential training (Nar et al. 2019, arXiv:1901.08360), two classes.

    The score s = features . weight has no bias: a bias cancels in the differences the loss is made
    of. The threshold is the buffer `bias` [1], set once after training. Logits are (-(s+b)/2,
    (s+b)/2), so that their difference is s + b and class 1 is predicted where it is positive.
    """

    bias: Tensor

    def __init__(self, features: int, classes: int = 2) -> None:
        if classes != 2:
            raise UserError(
                f"the one-score head is for two classes, the data have {classes}; choose two, as "
                "in cifar10[airplane,horse]"
            )
        super().__init__()
        bound = 1 / math.sqrt(features)
        # A matrix, so that it decays like one.
        self.weight = nn.Parameter(torch.empty(1, features).uniform_(-bound, bound))
        self.register_buffer("bias", torch.zeros(1))

    def score(self, features: Tensor) -> Tensor:
        """[B]: the score without its threshold."""
        return F.linear(features, self.weight)[:, 0]

    def forward(self, features: Tensor) -> Tensor:
        """[B,2] logits."""
        half = (self.score(features) + self.bias) / 2
        return torch.stack([-half, half], dim=1)


class ScoresHead(nn.Module):
    """Logits s + b, scores s = W h; the buffer `bias` [K] is set after training (ScoreHead)."""

    bias: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Linear(features, classes).weight
        self.register_buffer("bias", torch.zeros(classes))

    def score(self, features: Tensor) -> Tensor:
        """[B,K]: the scores without their thresholds."""
        return F.linear(features, self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """[B,K] logits."""
        return self.score(features) + self.bias


def squared_distances(h: Tensor, centers: Tensor) -> Tensor:
    """[B,K] ||h - mu_k||^2 of rows [B,D] and centres [K,D].

    From differences, in B * K * D numbers of memory: ||h||^2 - 2 h.mu + ||mu||^2 would lose the
    digits of small distances.
    """
    return (h[:, None] - centers).square().sum(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxMahalanobis:
    """Options of the head of MMC and MMLDA (Pang et al. 2020, arXiv:1905.10626)."""

    scale: Annotated[Number, Field(gt=0, description="length of the centres, the paper's C_MM")] = (
        10.0
    )
    width: Width = None
    factor: Annotated[
        Number,
        Field(
            gt=0,
            description=(
                "of the squared distance: 1 in the authors' code, 0.5 in the paper (our reading)"
            ),
        ),
    ] = 1.0


class MaxMahalanobisHead(nn.Module):
    """Logits -factor ||h - mu_k||^2 with the buffer `centers` [K,d] of mu_k.

    h are the features or a linear layer of them.
    """

    centers: Tensor

    def __init__(self, features: int, classes: int, options: MaxMahalanobis) -> None:
        dimension = options.width or features
        if dimension < classes - 1:
            raise UserError(
                f"head max-mahalanobis: centres of {classes} classes need {classes - 1} "
                f"dimensions, there are {dimension}; "
                f"give width={classes - 1} or more"
            )
        super().__init__()
        self.embed = nn.Linear(features, options.width) if options.width else nn.Identity()
        self.register_buffer("centers", (options.scale * simplex(classes, dimension)).float())
        self.factor = options.factor

    def forward(self, features: Tensor) -> Tensor:
        """[B,K] logits."""
        return -self.factor * squared_distances(self.embed(features), self.centers)


def simplex(classes: int, dimension: int) -> Tensor:
    """[K,d] float64: K unit vectors with inner products -1/(K-1), the least there is; d >= K-1.

    What the authors build row by row, in closed form: lower triangular, with a^2 = K (K-1-j) /
    ((K-1)(K-j)) on the diagonal of column j and -a / (K-1-j) below it.
    """
    j = torch.arange(classes - 1, dtype=torch.float64)
    left = classes - 1 - j  # rows below
    a = (classes * left / ((classes - 1) * (left + 1))).sqrt()
    columns = torch.eye(classes, classes - 1, dtype=torch.float64) * a
    columns -= torch.ones_like(columns).tril(-1) * (a / left)
    return F.pad(columns, (0, dimension - (classes - 1)))


class GaussianHead(nn.Module):
    """Logits -||h - mu_k||^2 / 2 with learned means.

    (Wan et al. 2018, arXiv:1803.02988, with identity covariance.)
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        # The authors' "msra" filler; weight decay applies to it, as there.
        self.means = nn.Parameter(torch.randn(classes, features) * math.sqrt(2 / features))

    def forward(self, features: Tensor) -> Tensor:
        """[B,K] logits."""
        return -squared_distances(features, self.means) / 2


class CenterHead(nn.Linear):
    """A linear head; the buffer `centers` [K,D] of class centres has no part in the logits."""

    centers: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.register_buffer("centers", torch.zeros(classes, features))

    @torch.no_grad()
    def move_centers(self, features: Tensor, labels: Tensor, rate: float) -> None:
        """In place: c_j <- c_j - rate * sum_{y=j} (c_j - h) / (1 + #{y=j}).

        (Wen et al. 2016, eq. 4.)
        """
        # A matrix product: index_add_ adds up in any order on a GPU.
        member = (torch.arange(len(self.centers), device=labels.device)[:, None] == labels).to(
            self.centers.dtype
        )
        gaps = member @ (self.centers[labels] - features)
        self.centers -= rate * gaps / (1 + member.sum(1, keepdim=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine:
    """Options of the cosine head (Wang et al. 2018, arXiv:1801.09414; Pang et al. 2020)."""

    scale: Annotated[Number, Field(gt=0, description="of the cosines: the largest logit")] = 15.0


class CosineHead(nn.Module):
    """Logits scale cos(h, w_k), in [-scale, scale], without a bias; 0 for features of length 0."""

    def __init__(self, features: int, classes: int, options: Cosine) -> None:
        super().__init__()
        self.weight = nn.Linear(features, classes).weight
        self.scale = options.scale

    def forward(self, features: Tensor) -> Tensor:
        """[B,K] logits."""
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))


_WITH_OPTIONS: dict[str, tuple[type[Any], Callable[[int, int, Any], nn.Module]]] = {
    "max-mahalanobis": (MaxMahalanobis, MaxMahalanobisHead),
    "cosine": (Cosine, CosineHead),
}
_PLAIN: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": nn.Linear,
    "score": ScoreHead,
    "scores": ScoresHead,
    "gaussian": GaussianHead,
    "center": CenterHead,
}


def build_head(spec: str, features: int, classes: int) -> nn.Module:
    """A new head. UserError for an unknown name, wrong options, or unfit features or classes."""
    parsed = parse_spec(spec)
    if parsed.name in _WITH_OPTIONS:
        options, head = _WITH_OPTIONS[parsed.name]
        return head(features, classes, build(options, parsed, f"head {parsed.name}"))
    if parsed.name not in _PLAIN:
        raise unknown("head", parsed.name, (*_PLAIN, *_WITH_OPTIONS))
    if parsed.argument is not None or parsed.options:
        raise UserError(f"head {parsed.name} has no options, '{spec}' gives some")
    return _PLAIN[parsed.name](features, classes)
