"""TOML and JSON, written by people and by robbench: one clear error names a bad file."""

from __future__ import annotations

import json
import stat
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from robbench.core.errors import UserError

MOST_BYTES = 16 * 2**20
DEEPEST = 40  # levels of tables and lists; ours have six


def require_regular(path: Path) -> None:
    """Raise UserError for a device, a pipe or a socket: reading one may never end.

    A missing file passes.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # opening it says why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"{path} is a device, a pipe or a socket; give a file")


def read_text(path: Path, what: str, kind: str) -> str:
    """The text of a `kind` of file, a few megabytes at most.

    Raises UserError, naming it as `what` and its path.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(
                f"{what} {path} has more than {MOST_BYTES >> 20} MB, which is too large for it"
            )
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} {path} is not valid {kind}: no UTF-8 text ({error.reason} at byte "
            f"{error.start})"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(
            f"cannot read {what} {path}: {getattr(error, 'strerror', None) or error}"
        ) from None


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file as plain values. Raises UserError as `read_text`, and for what is not valid."""
    text = read_text(path, what, "TOML")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not valid TOML: {_reason(error)}") from None
    _require_shallow(content, f"{what} {path}")
    return content


def parse_json(text: str, where: str) -> Any:
    """JSON as plain values.

    Raises UserError, beginning with `where`, for invalid JSON, for endless nesting, and for a key
    that is there twice, of which one reader would take the first and another the last.
    """
    try:
        content = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: {_reason(error)}") from None
    _require_shallow(content, where)
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key {repr(twice)[:60]} is there twice")
    return content


def _reason(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _require_shallow(content: Any, where: str) -> None:
    """Everybody who walks through nested values counts on an end."""
    level = [content]
    for _ in range(DEEPEST):
        inside = (
            value.values() if isinstance(value, dict) else value
            for value in level
            if isinstance(value, dict | list)
        )
        level = [value for values in inside for value in values]
        if not level:
            return
    raise UserError(f"{where} is nested more than {DEEPEST} levels deep")
