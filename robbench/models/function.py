"""A function of images as a module, so that it can be frozen and attacked like any other model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn


class Function(nn.Module):
    """Calls `function`, whose modules are its children: frozen with it, and part of its state.

    They are those around a function and among its globals, the owner of a method, and what a
    partial holds.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.used = nn.ModuleList(dict.fromkeys(_modules(function)))

    def forward(self, x: Tensor) -> Any:
        """What the function returns."""
        return self.function(x)


def _modules(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _modules(part)
    elif inspect.ismethod(value):
        yield from _modules(value.__self__)
        yield from _modules(value.__func__)
    elif inspect.isfunction(value):
        outside = inspect.getclosurevars(value)
        for part in (*outside.nonlocals.values(), *outside.globals.values()):
            if isinstance(part, nn.Module):
                yield part
    elif hasattr(value, "__dict__"):
        yield from (part for part in vars(value).values() if isinstance(part, nn.Module))
