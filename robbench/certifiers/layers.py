"""What a traced network is made of: affine maps, sums, rectifiers and maxima.

Each says how it acts on values in float64, and what it adds to a bound of rounding errors. Shapes:
B samples, each value [B,*].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Map: TypeAlias = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Affine:
    """x -> A x + b.

    whole: x -> A x + b. absolute: r -> |A| r. terms: how many numbers a sum of it adds up at most,
    in either direction.
    """

    whole: Map
    absolute: Map
    terms: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.whole(x)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """A (l+u)/2 + b -+ |A| (u-l)/2 (Gowal et al. 2018, eq. 6)."""
        middle, radius = self.whole((low + high) / 2), self.absolute((high - low) / 2)
        return middle - radius, middle + radius

    def largest(self, x: Tensor) -> Tensor:
        """|A| x + |b|, for sizes x."""
        return self.absolute(x) + self.whole(torch.zeros_like(x)).abs()

    def back(self, weights: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """A^T w [B,S,*shape] and <w, b> [B,S] for w [B,S,*]: <w, A x + b> = <A^T w, x> + <w, b>."""
        rows = weights.flatten(0, 1)
        with torch.enable_grad():
            zero = rows.new_zeros(len(rows), *shape, requires_grad=True)
            b = self.whole(zero)
            (before,) = torch.autograd.grad(b, zero, rows)
        constant = (rows * b.detach()).flatten(1).sum(1)
        return before.reshape(*weights.shape[:2], *shape), constant.reshape(weights.shape[:2])


@dataclasses.dataclass(frozen=True)
class Sum:
    """x, y -> x + y, as at the end of a residual block."""

    terms = 2

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@dataclasses.dataclass(frozen=True)
class Rectifier:
    """max(x, slope x), slope in [0,1): ReLU (slope 0) and leaky ReLU."""

    slope: float = 0.0
    terms = 2

    def __call__(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.slope * x)


@dataclasses.dataclass(frozen=True)
class Maximum:
    """The maxima of windows."""

    whole: Map
    terms = 1

    def __call__(self, x: Tensor) -> Tensor:
        return self.whole(x)


Layer: TypeAlias = Affine | Sum | Rectifier | Maximum


def linear(weight: Tensor, bias: Tensor | None) -> Affine:
    """A fully connected layer, weight [out,in]."""
    w, b = weight.detach().double(), None if bias is None else bias.detach().double()
    return Affine(lambda x: F.linear(x, w, b), lambda r: F.linear(r, w.abs()), sum(w.shape))


def monotone(whole: Map, terms: int) -> Affine:
    """A map with A >= 0 and b = 0, such as means and reshapes."""
    return Affine(whole, whole, terms)


def scaled(scale: Tensor, shift: Tensor) -> Affine:
    """The map x -> scale x + shift, entry by entry; both are broadcast."""
    a, b = scale.detach().double(), shift.detach().double()
    return Affine(lambda x: a * x + b, lambda r: a.abs() * r, 4)
