"""A chain of torch's own layers, called without all that a module looks after around a call.

Of a small model that is as much work as its arithmetic on a few rows. The answers are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.models.base import Classifier, Normalize

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Direct(nn.Module):
    """The layers of a model one after the other; its weights are the model's, not its own."""

    def __init__(self, model: nn.Module, layers: list[nn.Module]) -> None:
        super().__init__()
        self.whole = (model,)  # no part of this module
        self.calls = [torch.relu if type(layer) is nn.ReLU else layer.forward for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        for call in self.calls:
            x = call(x)
        return x


def direct(model: nn.Module) -> nn.Module:
    """The model's layers without their hooks' rounds, or the model where it is no plain chain."""
    hooked = nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    layers = None if hooked else _chain(model)
    return model if layers is None else Direct(model, layers)


def _chain(module: nn.Module) -> list[nn.Module] | None:
    """The layers that a module passes its input through, None where it may do anything else."""
    if module._compiled_call_impl is not None or any(getattr(module, hooks) for hooks in _HOOKS):
        return None
    if type(module) is Classifier and isinstance(module.normalize, Normalize):
        parts = [module.normalize, module.body, module.head]
    elif type(module) is nn.Sequential:
        parts = list(module)
    else:
        plain = type(module).__module__.startswith("torch.nn.modules.") or type(module) is Normalize
        return [module] if plain and not [*module.children()] else None
    chains = [_chain(part) for part in parts]
    return None if None in chains else [layer for chain in chains if chain for layer in chain]
