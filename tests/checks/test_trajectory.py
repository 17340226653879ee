"""Checks of an attack's trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robbench.checks import (
    trajectory,
)
from robbench.checks.broken_defences import DEFENCES


class _Sparse(torch.autograd.Function):
    """The identity; a fifth of its gradient, elsewhere at each point."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        order = x.flatten(1).sum(1, keepdim=True) * 1e3 * torch.arange(1, grad[0].numel() + 1)
        return grad * (order.frac().reshape(grad.shape) > 0.8)


def slow(x: Tensor) -> Tensor:
    return _Sparse.apply(x)


def misled(x: Tensor) -> Tensor:
    return DEFENCES["misleading gradient"][0](x)


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "progress": (trajectory.progress, misled, 1),
    "incomplete": (trajectory.incomplete, slow, 1),
    "silent-success": (trajectory.silent_success, lambda x: x + 0.05 * torch.randn_like(x), 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence)
