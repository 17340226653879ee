"""Defences that only look robust, made from an undefended model, for the self-test.

Each is the construction that a paper on masked gradients warns of (Athalye et al. 2018,
arXiv:1802.00420; Carlini and Wagner 2016, arXiv:1607.04311; Tramer et al. 2020, arXiv:2002.08347).
Inputs [B,*] in [0,1], outputs [B,K].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robbench.objectives import log_softmax

LEVELS = 8  # of the quantised inputs


class Defence(nn.Module):
    """A model between a function of its inputs and a function of its outputs."""

    def __init__(
        self,
        model: nn.Module,
        before: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.model = model
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.model(self.before(x)))


def _same(x: Tensor) -> Tensor:
    return x


def _quantised(x: Tensor) -> Tensor:
    return (x * LEVELS).round() / LEVELS


def _noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def _shattered(x: Tensor) -> Tensor:
    """A ripple too small to matter, whose slope drowns every other."""
    return x + 0.004 * torch.sin(5000 * x)


def _rugged(x: Tensor) -> Tensor:
    """Ripples about as long as an attack's steps: the slope is right, and leads nowhere.

    So does the loss of TRADES at some seeds (Li et al. 2024, arXiv:2410.07675).
    """
    return x + 0.02 * torch.sin(100 * x)


def _purified(x: Tensor) -> Tensor:
    """One step that optimises the input inside the forward pass."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        variance = (leaf - leaf.mean((-1, -2), keepdim=True)).square().sum()
        (away,) = torch.autograd.grad(variance, leaf)
    return x + 0.05 * away


def _over_margin(z: Tensor) -> Tensor:
    """Equal confidence everywhere: the margin of the two largest logits becomes 1."""
    largest = z.topk(2, 1).values
    return z / (largest[:, :1] - largest[:, 1:]).clamp_min(1e-6)


class _Misled(torch.autograd.Function):
    """The identity, with a gradient that has nothing to do with it."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad.flip(-1).roll(1, 0)


DEFENCES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "logits x 1000": (_same, lambda z: 1000 * z),
    "logits x 12": (_same, lambda z: 12 * z),
    "logits over their margin": (_same, _over_margin),
    "quantised input": (_quantised, _same),
    "quantised, straight-through": (lambda x: x + (_quantised(x) - x).detach(), _same),
    "gradient stopped": (torch.Tensor.detach, _same),
    "random input": (_noisy, _same),
    "probabilities": (_same, lambda z: log_softmax(z).exp()),
    "log-probabilities": (_same, log_softmax),
    "shattered gradient": (_shattered, _same),
    "rugged loss": (_rugged, _same),
    "purified input": (_purified, _same),
    "batch statistics": (lambda x: x - 0.2 * x.mean(0, keepdim=True), _same),
    "root of zero": (lambda x: x.square().sqrt(), _same),
    "misleading gradient": (lambda x: _Misled.apply(x), _same),
}


def defended(model: nn.Module) -> dict[str, nn.Module]:
    """The broken defences built around one model, by name."""
    return {
        name: Defence(model, before, after).eval() for name, (before, after) in DEFENCES.items()
    }
