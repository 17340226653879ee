"""The axes of a grid, as texts and files have them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from robbench.core.config import SPECS
from robbench.core.errors import UserError
from robbench.core.spec import split_items

_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_OPTION = re.compile(r"[A-Za-z_][\w-]*=")
_MORE_SPECS = ("models", "from_model", "replay")
MOST_LISTED = 1_000_000
"""Numbers of a range that are spelled out, and tasks of a sweep."""


class Axis(NamedTuple):
    """A setting that varies, and its values in their order; a range is not spelled out."""

    key: str
    values: Sequence[Any]


def parse_axis(text: str) -> Axis:
    """`loss=ce,trades:beta=6,sovr` as an axis.

    A comma inside brackets does not split. Of specs `key=value` goes to the spec before it, so that
    `trades:beta=6,rate=2` is one; of threat models a budget without a norm goes to the one before
    it. `0..4` are the whole numbers from 0 to 4. Raises UserError for what is malformed or empty.
    """
    key, equals, rest = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UserError(f"--grid '{text}': write KEY=VALUE,VALUE such as seed=0..2")
    name = key.replace("-", "_").rpartition(".")[2]
    parts: list[str] = []
    for part in split_items(rest):
        option = _OPTION.match(part) and (name in SPECS or name in _MORE_SPECS)
        if parts and (option or (name == "threat" and ":" not in part)):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    if not all(parts):
        raise UserError(
            f"--grid '{text}': a value is empty: write KEY=VALUE,VALUE such as seed=0..2"
        )
    return Axis(key, spelled(key, parts))


def axis_of_file(key: str, value: Any, where: str) -> Axis:
    """An axis of a TOML file: a list of values, or the text of a range, `"0..4"`.

    Raises UserError, beginning with `where`, for anything else and for an empty list.
    """
    if isinstance(value, str) and _RANGE.fullmatch(value.strip()):
        return Axis(key, spelled(key, [value.strip()]))
    if not isinstance(value, list):
        raise UserError(f"{where}: '{key}' of the grid should be a list of values, or \"0..4\"")
    if not value:
        raise UserError(f"{where}: '{key}' of the grid is an empty list, so there is nothing to do")
    return Axis(key, spelled(key, value))


def spelled(key: str, parts: Sequence[Any]) -> Sequence[Any]:
    """The values, ranges among them as their numbers; one range alone stays one."""
    values: list[Any] = []
    for part in parts:
        found = _RANGE.fullmatch(part) if isinstance(part, str) else None
        if found is None:
            values.append(part)
            continue
        numbers = range(int(found[1]), int(found[2]) + 1)
        if not numbers:
            raise UserError(f"the range {part} of '{key}' is empty: the smaller number is first")
        if len(parts) == 1:
            return numbers
        if len(numbers) > MOST_LISTED:
            raise UserError(f"the range {part} of '{key}' has {len(numbers):,} numbers")
        values += numbers
    return values


def matches(point: Mapping[str, str], excluded: Sequence[Mapping[str, Collection[str]]]) -> bool:
    """Whether a point of the grid, by its keys as texts, is one of those left out."""
    return any(all(point.get(key) in rule[key] for key in rule) for rule in excluded)
