"""Objects of a user in place of specs: the spec that gives such an object again."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from robbench.core.errors import UserError
from robbench.core.registry import Registry
from robbench.core.spec import Spec


def spec_of(registry: Registry[Any], given: Any) -> str:
    """The shortest spec of an object, or of a class with its defaults; a spec stays as it is.

    It has the registered name, or `module:attribute`. Raises UserError for what is of another kind,
    and for an object that no spec gives again.
    """
    if isinstance(given, str):
        return given
    built: Any = _made(registry, given) if isinstance(given, type) else given
    if not isinstance(built, registry.base):
        wanted = f"{registry.base.__module__}.{registry.base.__qualname__}"
        raise UserError(
            f"{built!r} is no {registry.kind}: give a spec, or an object or class derived from "
            f"{wanted}"
        )
    target = name_of(type(built), registry.kind)
    registry.find(target)
    names = (name for name, entry in registry.entries.items() if entry.target == target)
    options = {
        field.name: getattr(built, field.name)
        for field in dataclasses.fields(type(built))
        if field.init and getattr(built, field.name) != field.default
    }
    text = str(Spec(next(names, target), None, options))
    if registry.build(text) != built:
        raise UserError(f"{registry.kind} {built!r} is not what its options, {text}, give")
    return text


def name_of(named: Any, kind: str) -> str:
    """`module:attribute` of a class or function. Raises UserError for one inside of a function."""
    target = f"{named.__module__}:{named.__qualname__}"
    if "<" in target:  # <locals>, <lambda>
        raise UserError(
            f"{kind} {named.__qualname__} is defined inside a function; "
            "move it to the top of a module"
        )
    return target


def require_file(named: Any, kind: str) -> None:
    """Raise UserError for a class or function whose code is in no file, as in a notebook.

    Its code could not be identified later, and changed code would be taken for the same.
    """
    try:
        file = inspect.getsourcefile(named)
    except (TypeError, OSError):
        file = None
    if file is None or not Path(file).is_file():
        raise UserError(
            f"{kind} {named.__qualname__} has no file that tells its versions apart: "
            "write it into a module, a .py file, and import it from there"
        )


def _made(registry: Registry[Any], kind: type) -> Any:
    if not issubclass(kind, registry.base):
        return kind
    try:
        return kind()
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{registry.kind} {kind.__qualname__}: give an object of it, as the class cannot be "
            f"called without options ({error})"
        ) from error
