"""A network as a list of layers, and intervals of rounding errors of bounds on it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.certifiers.layers import Affine, Layer, Maximum, Rectifier, Sum
from robbench.certifiers.region import Region

UNIT = torch.finfo(torch.float64).eps


class Node(NamedTuple):
    """A layer, and which values it reads: value 0 is the input, value i + 1 that of node i."""

    layer: Layer
    reads: tuple[int, ...]


class Interval(NamedTuple):
    """low <= value <= high, entry by entry [B,*]."""

    low: Tensor
    high: Tensor


@dataclasses.dataclass(frozen=True)
class Network:
    """Nodes in the order in which they are computed; the last value is that of the logits."""

    nodes: tuple[Node, ...]

    def values(self, x: Tensor) -> list[Tensor]:
        """All values at inputs x [B,*] float64; the last are logits [B,K]."""
        found = [x]
        for layer, reads in self.nodes:
            found.append(layer(*(found[i] for i in reads)))
        return found

    def rectified(self) -> list[bool]:
        """Of each value, whether it depends on more than affine maps of the input."""
        found = [False]
        for layer, reads in self.nodes:
            found.append(not isinstance(layer, Affine | Sum) or any(found[i] for i in reads))
        return found

    def slack(self, region: Region) -> list[Tensor]:
        """[B,*] of each value: what rounding in float64 changes a bound of it by, at most.

        The standard bound n u sum |a_i x_i| of a sum of n products, for the network of absolute
        weights: with x for sizes of inputs, its values are the sums of the sizes of all products,
        both of an interval and of a linear bound, whose slopes are at most 1. n: the longest sums
        of all layers so far, and of the input, together; twice, as bounds of bounds are used.
        """
        sizes, terms, found = [region.largest], [2 * region.x0[0].numel()], list[Tensor]()
        for layer, reads in self.nodes:
            before = [sizes[i] for i in reads]
            sizes.append(layer.largest(*before) if isinstance(layer, Affine) else layer(*before))
            terms.append(2 * layer.terms + max(terms[i] for i in reads))
        for size, n in zip(sizes, terms, strict=True):
            found.append(4 * n * UNIT * size + torch.finfo(torch.float64).tiny)
        return found


def interval_after(layer: Layer, *before: Interval) -> Interval:
    """What an interval of what a layer reads gives for its value."""
    if isinstance(layer, Affine):
        return Interval(*layer.interval(*before[0]))
    assert isinstance(layer, Sum | Rectifier | Maximum)  # none of them falls where inputs rise
    low, high = zip(*before, strict=True)
    return Interval(layer(*low), layer(*high))


def widened(bounds: Interval, slack: Tensor) -> Interval:
    """The interval, rounded outwards."""
    return Interval(bounds.low - slack, bounds.high + slack)
