"""Guided dropout by plain loops, for the tests of losses and of models."""

from __future__ import annotations

import torch
from torch import nn


def curved_head() -> nn.Module:
    """Linear, tanh, linear."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()


def slow_kept(row: list[float], rho: float) -> set[int]:
    """The features of largest contribution whose positive parts reach rho of their total."""
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    total = sum(max(c, 0) for c in row)
    if total == 0:
        return set(order)
    chosen: set[int] = set()
    reached = 0.0
    for i in order:
        if reached >= rho * total:
            break
        chosen.add(i)
        reached += max(row[i], 0)
    return chosen
