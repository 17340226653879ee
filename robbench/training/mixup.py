"""Mixup: training on mixtures of two inputs, Zhang et al. 2018, arXiv:1710.09412."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mixed(NamedTuple):
    """A batch mixed with a shuffled copy of itself: x = share * x + (1 - share) * x[order]."""

    x: Tensor  # [B,*]
    other: Tensor  # [B] int64 labels y[order]
    share: float  # in [0,1], one for the batch


def mix(x: Tensor, y: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """Mix inputs x [B,*] and labels y [B] with a share drawn from Beta(alpha, alpha)."""
    share = beta(alpha, generator)
    order = torch.randperm(len(y), generator=generator).to(y.device)
    return Mixed(share * x + (1 - share) * x[order], y[order], share)


def beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha): the share of one of two gamma variables."""
    a, b = torch._standard_gamma(
        torch.tensor([alpha, alpha], dtype=torch.float64), generator
    ).tolist()
    return float(a / (a + b)) if a + b > 0 else 0.5
