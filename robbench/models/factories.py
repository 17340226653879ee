"""Which objects `module:factory` may name; others are refused before they are called."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from torch import nn

from robbench.core.code import is_private
from robbench.core.errors import UserError

_LOADERS = frozenset({"torch", "numpy", "pandas", "joblib", "dill", "cloudpickle"})
"""Packages of functions that unpickle what they read, which runs it."""


def require_factory(found: Any, target: str, owner: str) -> None:
    """Raise UserError unless `target` (module:attribute) is a model, a model class or a function.

    A function or class must be defined in the package it is named with, or both are private code:
    what `nets` merely imports, as in `from os import system`, is not called.
    """
    if isinstance(found, nn.Module):
        return
    try:
        code = inspect.unwrap(found) if callable(found) else found
        while isinstance(code, functools.partial):
            code = inspect.unwrap(code.func)
    except ValueError:
        raise UserError(
            f"{owner}: {target} leads back to itself by __wrapped__; name the function inside"
        ) from None
    code = getattr(code, "__func__", code)
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
    named, defined = target.partition(":")[0], str(code.__module__)
    package = defined.partition(".")[0]
    # A partial is made where it is named, whatever it calls.
    own = package == named.partition(".")[0] or (is_private(named) and is_private(defined))
    if not own and (not isinstance(found, functools.partial) or package in sys.stdlib_module_names):
        raise UserError(
            f"{owner}: {target} is defined in {defined}; if it builds a model, write "
            f"{defined}:{code.__qualname__}"
        )
    if inspect.isfunction(code) and package in _LOADERS:
        raise UserError(
            f"{owner}: functions of {package} may run what they load; call it in a function of "
            "your own, name that"
        )
