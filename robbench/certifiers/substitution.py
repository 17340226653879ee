"""Backward substitution: a linear bound of late values becomes one of earlier values.

Lower bounds of <w, value> are pushed back layer by layer, through affine maps exactly, through
rectifiers by lines below and above them on the interval that their input has (Zhang et al. 2018,
arXiv:1811.00866, section 3). What arrives at the input is minimised over the region in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robbench.certifiers.layers import Affine, Maximum, Rectifier, Sum
from robbench.certifiers.network import Interval, Network
from robbench.certifiers.region import Region, lowest_in_box

LARGEST = 1 << 24  # numbers of a chunk


def lowest(
    network: Network,
    at: int,
    weights: Tensor,
    bounds: Sequence[Interval],
    region: Region,
    *,
    through: bool = True,
) -> Tensor:
    """[B,S]: lower bounds of <w, value> of value number `at`, for weights w [B,S,*].

    bounds: of the values before it. through: past rectifiers, else their intervals are used, as
    those of maxima always are.
    """
    pending = {at: weights}
    total = weights.new_zeros(weights.shape[:2])
    for i in range(at, 0, -1):
        if i not in pending:
            continue
        w, (layer, reads) = pending.pop(i), network.nodes[i - 1]
        if isinstance(layer, Maximum) or (isinstance(layer, Rectifier) and not through):
            low, high = (side.flatten(1) for side in bounds[i])
            total = total + lowest_in_box(w.flatten(2), low, high)
            continue
        if isinstance(layer, Affine):
            w, constant = layer.back(w, bounds[reads[0]].low.shape[1:])
            total = total + constant
        elif isinstance(layer, Rectifier):
            w, constant = _through(layer, w, bounds[reads[0]])
            total = total + constant
        else:
            assert isinstance(layer, Sum)
        for j in reads:
            pending[j] = pending[j] + w if j in pending else w
    return total + region.lowest(pending[0]) if 0 in pending else total


def _through(layer: Rectifier, w: Tensor, before: Interval) -> tuple[Tensor, Tensor]:
    """Weights and constants [B,S] of a lower bound on what a rectifier reads, interval [l,u].

    Above it lies its chord, below it the steeper of its two lines where the interval has more of
    that side (u > -l), else the flatter one (CROWN-Ada).
    """
    l, u = before  # noqa: E741
    slope = layer.slope
    above = torch.where(l >= 0, 1.0, torch.where(u <= 0, slope, (u - slope * l) / (u - l)))
    offset = torch.where((l >= 0) | (u <= 0), 0.0, (1 - slope) * -l * u / (u - l))
    # Of numbers alone torch.where makes float32, which a slope of 0.1 is not exact in.
    below = torch.where((l >= 0) | ((u > 0) & (u > -l)), torch.ones_like(l), slope)
    positive, negative = w.clamp(min=0), w.clamp(max=0)
    constant = (negative.flatten(2) * offset.flatten(1)[:, None]).sum(2)
    return positive * below[:, None] + negative * above[:, None], constant


def tightened(
    network: Network,
    at: int,
    bounds: Sequence[Interval],
    slack: Tensor,
    region: Region,
    chosen: Tensor,
) -> Interval:
    """The interval of value `at`, cut with its linear bounds in the entries `chosen` [n].

    chosen: positions in a flattened value. The other entries stay as they are.
    """
    low, high = (side.flatten(1).clone() for side in bounds[at])
    samples, size = low.shape
    widest = max(side.low[0].numel() for side in bounds)
    step = max(1, LARGEST // (2 * samples * widest))
    for part in torch.split(chosen, step):
        units = torch.zeros(len(part), size, dtype=low.dtype, device=low.device)
        units[torch.arange(len(part), device=low.device), part] = 1.0
        both = torch.cat([units, -units]).expand(samples, -1, -1)
        weights = both.reshape(samples, 2 * len(part), *bounds[at].low.shape[1:])
        found = lowest(network, at, weights, bounds, region)
        error = slack.flatten(1)[:, part]
        low[:, part] = torch.maximum(low[:, part], found[:, : len(part)] - error)
        high[:, part] = torch.minimum(high[:, part], -found[:, len(part) :] + error)
    shape = bounds[at].low.shape
    return Interval(low.reshape(shape), high.reshape(shape))


def margin_weights(labels: Tensor, classes: int) -> Tensor:
    """[B,K-1,K]: what makes of logits z the margins z_y - z_k, for every k but the label y."""
    every = torch.eye(classes, dtype=torch.float64, device=labels.device)
    others = torch.arange(classes - 1, device=labels.device)[None]
    others = others + (others >= labels[:, None])
    return every[labels][:, None] - every[others]
