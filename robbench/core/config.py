"""Settings: a frozen dataclass per command, filled from several sources.

The order is flag > --set > ROBBENCH_* > TOML file > recipe > default.

A TOML file may hold plain keys and one table per command (`[train]`, `[attack]`), which wins over
the plain keys.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from robbench.core.documents import read_toml
from robbench.core.errors import UserError, nearest
from robbench.core.spec import option_names, validate
from robbench.core.trust import refuse_private

T = TypeVar("T")
COMMANDS = ("train", "attack")
SPECS = {
    "data": "data",
    "generated": "data",
    "model": "models",
    "loss": "losses",
    "inner": "attacks",
    "attack": "attacks",
    "audit_attack": "attacks",
}
"""The settings that are specs, and of which kind."""


def parse_limit(value: Any) -> int | str | None:
    """`15`, `first=15` -> 15; `stratified=15` (of every class alike) stays; `none` -> None."""
    if value is None or value == "none":
        return None
    kind, equals, count = str(value).replace(" ", "").rpartition("=")
    fits = count.isdecimal() and len(count) < 10 and int(count) > 0 and not isinstance(value, bool)
    if not fits or kind not in (("first", "stratified") if equals else ("",)):
        raise ValueError("input should be greater than 0, such as 100, or stratified=100")
    return f"stratified={int(count)}" if kind == "stratified" else int(count)


def parse_width(value: Any) -> int | None:
    """`auto` -> None; otherwise a whole number of at least 1."""
    if value is None or value == "auto":
        return None
    text = str(value)
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise ValueError("should be auto or a whole number from 1 to 999999999")
    return int(text)


def load_config(
    cls: type[T],
    command: str,
    *,
    file: Path | None,
    sets: Sequence[str],
    flags: Mapping[str, Any],
    base: Mapping[str, Any] = MappingProxyType({}),
) -> T:
    """Merge the sources, `base` (a recipe) below all.

    Raises UserError that names the source, the key and the nearest known key.
    """
    names = option_names(cls)
    read = _checked(_read_toml(file, command), names, str(file)) if file is not None else {}
    if empty := [name for name, value in read.items() if value == []]:
        raise UserError(f"{file}: {empty[0]} is an empty list: leave it out for its default")
    environment = {
        name: os.environ[key] for name in names if (key := f"ROBBENCH_{name.upper()}") in os.environ
    }
    given = [key_value(item) for item in sets]
    typed = _checked(dict(given), names, "--set")
    keys = [key for key, _ in given]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"--set gives {', '.join(repeated)} twice")
    typed |= {
        name: value
        for name, value in flags.items()
        if value not in (None, [], ()) and value is not False
    }
    for name, value in (read | environment).items():
        if name not in typed and name in SPECS:
            refuse_private(
                f"ROBBENCH_{name.upper()}" if name in environment else file, SPECS[name], value
            )
    merged: dict[str, Any] = {**base, **read, **environment, **typed}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if "tuple" in str(field.type) and isinstance(merged.get(field.name), str):
            merged[field.name] = [merged[field.name]]
    return validate(cls, merged, command)


def process_number(name: str, default: int) -> int:
    """A number that torchrun gives a process: RANK, WORLD_SIZE or LOCAL_RANK.

    Raises UserError where the variable is no number.
    """
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise UserError(
            f"the variable {name} is '{text}', which is not the number of a process: "
            "unset it, or start with torchrun"
        )
    return int(text)


def key_value(item: str) -> tuple[str, str]:
    """`lr=0.01` of --set as name and value. Raises UserError for anything else."""
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UserError(f"--set '{item}': write KEY=VALUE")
    return key.strip().replace("-", "_"), value.strip()


def _read_toml(path: Path, command: str) -> dict[str, Any]:
    content = read_toml(path, "the config file")
    own = content.get(command, {})
    if not isinstance(own, dict):
        raise UserError(f"{path}: '{command}' must be a table: [{command}]")
    return {key: value for key, value in content.items() if key not in COMMANDS} | own


def _checked(values: dict[str, Any], names: Sequence[str], source: str) -> dict[str, Any]:
    values = {key.replace("-", "_"): value for key, value in values.items()}
    for key in values:
        if key not in names:
            raise UserError(f"{source}: unknown key '{key}'{nearest(key, names)}")
    return values
