"""Where a model normalises its inputs, and with which mean and deviation: found by one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from robbench.core.freeze import frozen

NAMES = (("mean", "std"), ("mu", "sigma"))
"""How modules call the two: torchvision, kornia, timm and robbench; the models of RobustBench."""


class Normalisation(NamedTuple):
    """A module with the mean and deviation of channels.

    front: it is given the images themselves. module: its name in the model, '' for the model.
    """

    module: str
    kind: str  # its class
    mean: tuple[float, ...]
    std: tuple[float, ...]
    front: bool


def find_normalisations(model: nn.Module, x: Tensor) -> list[Normalisation]:
    """The modules that normalise images x [2,C,*], in the order in which they are asked.

    A module counts if it holds one number, or one per channel, under the names of `NAMES`, and
    takes part in a forward pass. Arithmetic in a function is not seen. The model is left as it was.
    """
    known = normalisations(model, x.shape[1])
    asked: dict[nn.Module, Normalisation] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        front = given is not None and given.shape == x.shape and bool(torch.equal(given, x))
        asked.setdefault(module, known[module]._replace(front=front))

    hooks = [module.register_forward_pre_hook(note) for module in known]
    try:
        with frozen(model), torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return list(asked.values())


def normalisations(model: nn.Module, channels: int) -> dict[nn.Module, Normalisation]:
    """The modules that hold a mean and a deviation of the channels, whether they are asked or not.

    `front` is False of all, as that is not known.
    """
    known: dict[nn.Module, Normalisation] = {}
    for name, module in model.named_modules():
        if isinstance(module, ScriptModule):  # it takes no hooks
            continue
        if (found := _statistics(module, channels)) is not None:
            known[module] = Normalisation(name, type(module).__name__, *found, front=False)
    return known


def _statistics(
    module: nn.Module, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    for names in NAMES:
        values = [_numbers(getattr(module, name, None)) for name in names]
        if all(len(found) in (1, channels) for found in values) and min(values[1]) > 0:
            return values[0], values[1]
    return None


def _numbers(value: Any) -> tuple[float, ...]:
    """Finite numbers of a tensor, list or number; () of anything else."""
    if isinstance(value, bool) or not isinstance(value, Tensor | list | tuple | float | int):
        return ()
    try:
        found = torch.as_tensor(value).detach().flatten().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        return ()
    return tuple(found.tolist()) if bool(torch.isfinite(found).all()) else ()
