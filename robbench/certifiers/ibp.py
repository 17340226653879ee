"""Interval bounds (IBP): Gowal et al. 2018, arXiv:1810.12715."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from robbench.certifiers.bounds import Bounds
from robbench.certifiers.network import Interval, Network, interval_after, widened
from robbench.certifiers.region import Region
from robbench.certifiers.substitution import lowest, tightened


@dataclasses.dataclass(frozen=True, kw_only=True)
class IBP(Bounds):
    """Interval bounds, layer by layer (Gowal et al. 2018): fast, loose unless trained for.

    The margins are bounded directly, the last layer folded in. In l2 what the first rectifiers read
    is bounded by the dual norm, all after it by intervals.
    """

    def margins(self, network: Network, region: Region, weights: Tensor) -> Tensor:
        bounds = intervals(network, region)
        return lowest(network, len(network.nodes), weights, bounds, region, through=False)


def intervals(network: Network, region: Region) -> list[Interval]:
    """The interval of each value, [B,*]."""
    slack, rectified = network.slack(region), network.rectified()
    bounds = [Interval(region.low, region.high)]
    for i, (layer, reads) in enumerate(network.nodes, 1):
        before = [bounds[j] for j in reads]
        if region.norm == "l2" and rectified[i] and not rectified[j := reads[0]]:
            every = torch.arange(before[0].low[0].numel(), device=region.x0.device)
            bounds[j] = tightened(network, j, bounds, slack[j], region, every)
            before[0] = bounds[j]
        bounds.append(widened(interval_after(layer, *before), slack[i]))
    return bounds
