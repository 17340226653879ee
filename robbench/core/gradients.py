"""Gradients of several values per row at once."""

from __future__ import annotations

import torch
from torch import Tensor


def column_gradients(values: Tensor, leaf: Tensor) -> Tensor:
    """[B,k,*] gradients of the columns of values [B,k] in leaf [B,*].

    Zeros where the values do not depend on the leaf, or their graph is cut. It frees the graph.
    """
    k = values.shape[1]
    if not values.requires_grad:
        return leaf.new_zeros(len(leaf), k, *leaf.shape[1:])
    if k == 1:  # without a copy
        (only,) = torch.autograd.grad(values.sum(), leaf, materialize_grads=True)
        return only.contiguous()[:, None]
    parts = [
        torch.autograd.grad(
            values[:, j].sum(), leaf, retain_graph=j < k - 1, materialize_grads=True
        )[0]
        for j in range(k)
    ]
    return torch.stack(parts, 1)


def pulled_back(outputs: Tensor, seeds: Tensor, leaf: Tensor) -> Tensor:
    """[B,*] gradients of sum(seeds * outputs), outputs and seeds [B,K], in leaf [B,*].

    Zeros where the outputs do not depend on the leaf. It frees the graph.
    """
    if not outputs.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(outputs, leaf, seeds, materialize_grads=True)
    return found.contiguous()
