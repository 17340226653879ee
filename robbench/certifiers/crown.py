"""Linear bounds (CROWN): Zhang et al. 2018, arXiv:1811.00866."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robbench.certifiers.bounds import Bounds
from robbench.certifiers.ibp import intervals
from robbench.certifiers.layers import Rectifier
from robbench.certifiers.network import Interval, Network, interval_after, widened
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import lowest, tightened


@dataclasses.dataclass(frozen=True, kw_only=True)
class CROWN(Bounds):
    """Linear bounds by backward substitution (Zhang et al. 2018), never below those of `ibp`.

    Lower lines are adaptive. Before each rectifier the entries whose sign is open are bounded in
    the same way; inner=ibp leaves them at their intervals (CROWN-IBP, Zhang et al. 2020): cheaper
    and looser.
    """

    inner: Annotated[
        Literal["crown", "ibp"], Field(description="how what rectifiers read is bounded")
    ] = "crown"

    def margins(self, network: Network, region: Region, weights: Tensor) -> Tensor:
        at = len(network.nodes)
        inner = intervals(network, region)
        bounds = inner if self.inner == "ibp" else _refined(network, region)
        loose = lowest(network, at, weights, inner, region, through=False)
        return torch.maximum(loose, lowest(network, at, weights, bounds, region))


def _refined(network: Network, region: Region) -> list[Interval]:
    """As `intervals`, with what rectifiers read bounded by lines where its sign is open."""
    slack, rectified = network.slack(region), network.rectified()
    bounds = [Interval(region.low, region.high)]
    for i, (layer, reads) in enumerate(network.nodes, 1):
        # Of affine maps of a box intervals are as good already.
        if isinstance(layer, Rectifier) and (rectified[j := reads[0]] or region.norm == "l2"):
            low, high = bounds[j]
            unsettled = ((low < 0) & (high > 0)).flatten(1).any(0).nonzero()[:, 0]
            bounds[j] = tightened(network, j, bounds, slack[j], region, unsettled)
        before = [bounds[j] for j in reads]
        bounds.append(widened(interval_after(layer, *before), slack[i]))
    return bounds
