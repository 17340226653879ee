"""Input gradients: their length, what they promise, and how far the loss is from them.

Shapes: x [B,*] in [0,1], y [B] int64, results [B] unless said otherwise. The change that a
perturbation of size eps can make to a value, to first order, is eps times the dual norm of its
gradient: l1 for linf, l2 for l2, linf for l1 (and for l0, whose cube is that of l1; l0px has none).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robbench.core.gradients import column_gradients
from robbench.models.base import Output
from robbench.objectives import cross_entropies, margins
from robbench.threat.norms import find_norm

VALUES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": margins,
    "cross_entropy": cross_entropies,
}
"""What is differentiated, as functions of logits [B,K] and labels [B]."""

LENGTHS = {"l1": "linf", "l2": "l2", "linf": "l1"}
"""Norms a gradient is measured in, each with the threat model's norm that it is dual to."""


def dual(norm: str) -> str:
    """In which of LENGTHS a gradient is measured under a threat model of this norm."""
    return {threat: length for length, threat in LENGTHS.items()}.get(norm, "linf")


def slopes(
    forward: Callable[[Tensor], Output], x: Tensor, y: Tensor
) -> tuple[Output, dict[str, tuple[Tensor, Tensor]]]:
    """The output at x, and for each of VALUES its value [B] and gradient in x [B,*]; detached.

    One forward, two backwards. A model that cuts the graph has gradients of zero.
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        try:
            out = forward(leaf)
        except RuntimeError as error:  # such as a forward pass through NumPy
            if isinstance(error, torch.OutOfMemoryError):
                raise
            with torch.no_grad():
                out = forward(x)
        values = torch.stack([value(out.logits, y) for value in VALUES.values()], 1)
    grads = column_gradients(values, leaf)
    values = values.detach()
    found = {name: (values[:, i], grads[:, i]) for i, name in enumerate(VALUES)}
    return Output(out.logits.detach(), out.features.detach()), found


def lengths(grad: Tensor) -> dict[str, Tensor]:
    """The l1, l2 and linf norms [B] of gradients [B,*]."""
    return {length: find_norm(threat).dual(grad) for length, threat in LENGTHS.items()}


def flips(margin: Tensor, length: Tensor, eps: float) -> Tensor:
    """[B] bool: to first order, eps is enough for an error: margin <= eps ||grad margin||_dual.

    The test that goes with the gradient norms of Kanai et al. (arXiv:2207.10283); a wrong sample
    always flips.
    """
    return margin <= eps * length


def local_linearity(before: Tensor, grad: Tensor, after: Tensor, d: Tensor) -> Tensor:
    """[B] |l(x+d) - l(x) - <d, grad l(x)>|, from both losses, the gradient [B,*] and d [B,*].

    Qin et al. 2019 (arXiv:1907.02610, eq. 5) take its largest value over the ball as the measure of
    local linearity; at one perturbation it is a lower bound of that. 0 = linear.
    """
    return (after - before - (d * grad).flatten(1).sum(1)).abs()
