"""AWP, adversarial weight perturbation around any loss: Wu, Xia and Wang 2020, algorithm 1.

arXiv:2004.05884.

The gradient is taken at w + gamma d, where d is one ascent step of the training loss at the same
adversarial inputs, scaled weight by weight: d = ||w|| / ||g|| * g for weights of two or more
dimensions. As in the authors' code the optimizer steps from the perturbed weights, and the
perturbation is removed afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from robbench.core.freeze import buffers_kept
from robbench.training.distributed import World


@contextlib.contextmanager
def perturbed(
    model: nn.Module, gamma: float, objective: Callable[[], Tensor], world: World
) -> Iterator[None]:
    """Move the weights by gamma along the ascent direction of `objective()`, and back at the end.

    Buffers stay as they are.
    """
    weights = [weight for weight in model.parameters() if weight.ndim >= 2 and weight.requires_grad]
    with buffers_kept(model):
        gradients = torch.autograd.grad(objective(), weights, allow_unused=True)
    found = [
        torch.zeros_like(w) if g is None else g for w, g in zip(weights, gradients, strict=True)
    ]
    moves = [
        _move(weight, gradient, gamma)
        for weight, gradient in zip(weights, world.add(found), strict=True)
    ]
    with torch.no_grad():
        for weight, move in zip(weights, moves, strict=True):
            weight.add_(move)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, move in zip(weights, moves, strict=True):
                weight.sub_(move)


def _move(weight: Tensor, gradient: Tensor, gamma: float) -> Tensor:
    return torch.as_tensor(gamma * weight.detach().norm() / (gradient.norm() + 1e-20) * gradient)
