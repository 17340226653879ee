"""Optimizers by name, and their learning rate.

Weight decay is for weights of two or more dimensions only: not for biases, norms or scales.
"""

from __future__ import annotations

from torch import nn, optim

from robbench.training.recipe import Recipe
from robbench.training.schedules import SCHEDULES


def make_optimizer(
    name: str, model: nn.Module, *, lr: float, momentum: float, weight_decay: float
) -> optim.Optimizer:
    """`sgd` (Nesterov off), `adam` or `adamw` over the model's parameters."""
    weights = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if name == "sgd":
        return optim.SGD(groups, lr=lr, momentum=momentum)
    return (optim.AdamW if name == "adamw" else optim.Adam)(groups, lr=lr)


def set_rate(optimizer: optim.Optimizer, recipe: Recipe, progress: float) -> float:
    """Set and return the learning rate when a share `progress` in [0,1] of training is done."""
    rate = recipe.lr * SCHEDULES[recipe.schedule](progress)
    if recipe.warmup:
        rate *= min(1.0, progress / recipe.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
