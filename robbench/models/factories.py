"""Which objects `module:factory` may name; others are refused before they are called."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from robbench.core.errors import UserError
from robbench.core.factories import code_behind, require_own


def require_factory(found: Any, target: str, owner: str) -> None:
    """Raise UserError unless `target` (module:attribute) is a model, a model class or a function.

    A function or class must be defined in the package it is named with, or both are private code:
    what `nets` merely imports, as in `from os import system`, is not called.
    """
    if isinstance(found, nn.Module):
        return
    code = code_behind(found, target, owner)
    if not (inspect.isfunction(code) or (isinstance(code, type) and issubclass(code, nn.Module))):
        kind = (
            "the class"
            if isinstance(code, type)
            else "not a callable but"
            if not callable(code)
            else "an object of"
        )
        kind += f" {code.__name__}" if isinstance(code, type) else f" {type(code).__name__}"
        raise UserError(
            f"{owner}: {target} is {kind}; name a function that returns an nn.Module, a class of "
            "them, or a model"
        )
    require_own(found, code, target, owner, "builds a model")
