"""Tables of numbers that change with the moves made, which attacks look up by each row's count.

In float64, as the numbers of Python in which published code computes them.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

BETA1, BETA2, TINY = 0.9, 0.999, 1e-8  # Adam's own defaults, Kingma and Ba 2015, arXiv:1412.6980


@functools.cache
def cosine(first: float, last: float, steps: int, device: torch.device) -> Tensor:
    """[steps + 1], float64: from `first` at 0 to `last` at `steps` along half a cosine."""
    shares = [(1 + math.cos(math.pi * k / steps)) / 2 for k in range(steps + 1)]
    return torch.tensor(
        [last + (first - last) * share for share in shares], dtype=torch.float64, device=device
    )


@functools.cache
def corrections(steps: int, device: torch.device) -> Tensor:
    """[2, steps + 1], float64: 1 - beta^(k+1), by which both averages of Adam are divided."""
    rows = [[1 - beta ** (k + 1) for k in range(steps + 1)] for beta in (BETA1, BETA2)]
    return torch.tensor(rows, dtype=torch.float64, device=device)
