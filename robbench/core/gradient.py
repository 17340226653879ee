"""Gradients in the input, also of models that autograd differentiates by `backward` only."""

from __future__ import annotations

import torch
from torch import Tensor


def input_gradient(value: Tensor, x: Tensor, *, keep: bool = False) -> Tensor | None:
    """D value / d x for a sum `value` [] and a leaf x; None when x has no part in it. `keep`: the graph is needed again.

    The weights should be frozen, so that nothing but x gathers a gradient.
    """
    if not value.requires_grad:
        return None
    try:
        return torch.autograd.grad(value, x, retain_graph=keep, allow_unused=True)[0]
    except RuntimeError as error:
        if "use_reentrant" not in str(error):  # activation checkpointing of the older kind works by `backward` alone
            raise
    x.grad = None
    value.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
    found, x.grad = x.grad, None
    return found


def gradient_or_zero(value: Tensor, x: Tensor, *, keep: bool = False) -> Tensor:
    """The same, zero where x has no part in the value."""
    found = input_gradient(value, x, keep=keep)
    return torch.zeros_like(x) if found is None else found
