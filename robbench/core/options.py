"""The options of a class, as `robbench explain` and the manual show them."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from robbench.core.spec import value_text

_REQUIRED = "(must be given)"


@dataclasses.dataclass(frozen=True)
class OptionInfo:
    """One option of a registered class, as `robbench explain` shows it."""

    name: str
    type: str
    default: str
    help: str


def explain_options(cls: type) -> list[OptionInfo]:
    """The options of a class, read from its dataclass fields and their `Field(description=...)`.

    Those that must be given come first.
    """
    if not dataclasses.is_dataclass(cls):
        return []
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        hint = hints[field.name]
        texts = [getattr(mark, "description", None) for mark in getattr(hint, "__metadata__", ())]
        default = _REQUIRED if field.default is dataclasses.MISSING else value_text(field.default)
        rows.append(
            OptionInfo(field.name, _type_text(hint), default, next((t for t in texts if t), ""))
        )
    return sorted(rows, key=lambda row: row.default != _REQUIRED)


def _type_text(hint: Any) -> str:
    """A type as a person would write it: without marks, choices as `a | b`, None as `none`."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _type_text(hint.__origin__)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_text(part) for part in typing.get_args(hint))
    if origin is tuple:
        return f"({','.join('...' if a is ... else _type_text(a) for a in typing.get_args(hint))})"
    return (
        "none" if hint is types.NoneType else hint.__name__ if isinstance(hint, type) else str(hint)
    )
