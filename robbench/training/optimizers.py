"""Optimizers by name. Weight decay goes to weights of two or more dimensions only: not to biases, norms or scales."""

from __future__ import annotations

from torch import nn, optim


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
