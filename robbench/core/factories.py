"""Private functions that make models or data: which may be called, and with what options."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

from robbench.core.code import is_private
from robbench.core.errors import UserError, nearest

_LOADERS = frozenset({"torch", "numpy", "pandas", "joblib", "dill", "cloudpickle"})
"""Packages of functions that unpickle what they read, which runs it."""


def code_behind(found: Any, target: str, owner: str) -> Any:
    """The function or class that calling `found` runs, below decorators and partials."""
    try:
        code = inspect.unwrap(found) if callable(found) else found
        while isinstance(code, functools.partial):
            code = inspect.unwrap(code.func)
    except ValueError:
        raise UserError(
            f"{owner}: {target} leads back to itself by __wrapped__; name the function inside"
        ) from None
    return getattr(code, "__func__", code)


def require_own(found: Any, code: Any, target: str, owner: str, makes: str) -> None:
    """Raise UserError for code of another package than it is named with, unless both are private.

    What `nets` merely imports, as in `from os import system`, is not called. makes: `builds a
    model`.
    """
    named, defined = target.partition(":")[0], str(code.__module__)
    package = defined.partition(".")[0]
    # A partial is made where it is named, whatever it calls.
    own = package == named.partition(".")[0] or (is_private(named) and is_private(defined))
    if not own and (not isinstance(found, functools.partial) or package in sys.stdlib_module_names):
        raise UserError(
            f"{owner}: {target} is defined in {defined}; if it {makes}, write "
            f"{defined}:{code.__qualname__}"
        )
    if inspect.isfunction(code) and package in _LOADERS:
        raise UserError(
            f"{owner}: functions of {package} may run what they load; call it in a function of "
            "your own, name that"
        )


def takes(factory: Any, option: str) -> bool:
    """Whether a factory names an option among its own."""
    try:
        return option in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some callables of C extensions have none
        return False


def option_values(factory: Any, owner: str, options: Mapping[str, str]) -> dict[str, Any]:
    """The options of a spec as arguments of a factory: JSON where they can be, else text.

    Raises UserError where they do not fit its signature.
    """
    values = {key: _value(text) for key, text in options.items()}
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return values
    try:
        signature.bind(**values)
    except TypeError as error:
        names = list(signature.parameters)
        strange = next((key for key in values if key not in names), None)
        text = (
            f"unknown option '{strange}'" + (nearest(strange, names) or "; it has none")
            if strange
            else str(error)
        )
        raise UserError(f"{owner}: {text}") from None
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
