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
from robbench.checks.evidence import Skip


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


def rippled(x: Tensor) -> Tensor:
    return x + 0.0067 * torch.sin(300 * x)


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "progress": (trajectory.progress, misled, 1),
    "incomplete": (trajectory.incomplete, slow, 1),
    "stationary": (trajectory.stationary, rippled, 1),
    "silent-success": (trajectory.silent_success, lambda x: x + 0.05 * torch.randn_like(x), 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence)


@pytest.mark.parametrize("threat", ["linf:0.05", "l2:0.2"])
def test_the_stationary_condition_by_hand(threat: str, linear: Any, evidence: Callable) -> None:
    """At the ends of PGD: eps dual(g) - <x - x0, g> against a half of eps dual(g)."""
    model = linear(rippled)
    e = evidence(model, threat=threat)
    found = trajectory.stationary(e)
    x0, x = e.split.pixels(slice(None)), e.trace.points
    leaf = x.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(leaf), e.labels, reduction="sum")
    g = torch.autograd.grad(loss, leaf)[0].flatten(1)
    most = e.threat.eps * (g.abs().sum(1) if threat.startswith("linf") else g.norm(dim=1))
    condition = most - ((x - x0).flatten(1) * g).sum(1)
    standing = ~e.trace.hits.any(0)
    assert 10 < int(standing.sum()) < len(x)
    assert bool((condition >= -1e-6).all())
    bad = standing & (condition > most / 2)
    assert found.figure == pytest.approx(float(bad.sum() / standing.sum()))
    assert found.failed
    assert set(found.evidence) == set(e.ids(bad))


def test_stationary_is_not_asked_in_l1(linear: Any, evidence: Callable) -> None:
    """There a step moves one entry, and the best move from the input is one too."""
    with pytest.raises(Skip, match="l1"):
        trajectory.stationary(evidence(linear(), threat="l1:1"))
