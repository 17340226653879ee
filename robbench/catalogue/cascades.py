"""Cascades: names for lists of attack specs.

Ours are in `cascades.toml`, a user's own in a TOML file of the same form.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robbench.core.documents import read_toml
from robbench.core.errors import UserError
from robbench.core.trust import refuse_private


@functools.cache
def cascades() -> Mapping[str, Any]:
    """Our own, by name."""
    return tomllib.loads(Path(__file__).with_name("cascades.toml").read_text(encoding="utf-8"))


def audited_by(name: str) -> str | None:
    """The full cascade that a cheap one is audited by; None of every other name."""
    full: str | None = cascades().get(name, {}).get("audited_by")
    return full


def expand(text: str, norm: str) -> tuple[str, ...]:
    """The attack specs behind a name: of a cascade, of a `.toml` file, else the text itself.

    Raises UserError for a cascade that is given options, and for a file that is missing, malformed
    or names private code.
    """
    name, colon, _ = text.partition(":")
    if name in cascades():
        if colon:
            raise UserError(f"{name} takes no options; `robbench explain {name}` shows its attacks")
        return _attacks(cascades()[name], norm)
    if not text.endswith(".toml"):
        return (text,)
    content = read_toml(Path(text), "the cascade")
    found = _attacks(content, norm)
    if not found or not all(isinstance(spec, str) for spec in found):
        raise UserError(
            f'the cascade {text} needs a list of specs such as attacks = ["apgd", "apgd-t"], '
            "also in its tables"
        )
    refuse_private(text, "attacks", found)
    if inside := [spec for spec in found if spec.endswith(".toml")]:
        raise UserError(
            f"the cascade {text} names another file, {inside[0]}; write that one's attacks here"
        )
    return tuple(part for spec in found for part in expand(spec, norm))


def _attacks(cascade: Mapping[str, Any], norm: str) -> tuple[str, ...]:
    """The list of a norm, else the general one; () where that is no list."""
    own = cascade.get(norm, {})
    attacks = (
        own["attacks"] if isinstance(own, dict) and "attacks" in own else cascade.get("attacks")
    )
    return tuple(attacks) if isinstance(attacks, list) else ()
