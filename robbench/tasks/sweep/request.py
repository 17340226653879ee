"""What a user asks of a sweep: its file and its flags as one request, nothing expanded yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robbench.core.config import SPECS
from robbench.core.documents import read_toml
from robbench.core.errors import UserError, nearest, unknown
from robbench.core.trust import refuse_private
from robbench.tasks.sweep.grid import Axis, axis_of_file
from robbench.tasks.sweep.keys import homes, makes_models
from robbench.tasks.train.naming import LONGEST_NAME, NAME

STEPS = ("train", "attack", "measure", "check", "certify", "compare")
USUAL_STEPS = ("train", "attack", "compare")
_TABLES = ("sweep", "grid", "train", "attack", "certify", "exclude")
CERTIFY = ("method", "threat", "data", "split", "limit", "seed")
"""The keys of the table [certify]; where it leaves one out, the attack's counts."""
_ABOUT = ("name", "steps", "prefix")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep as it was asked for.

    grid: the settings that vary. fixed: those that do not, by the keys they were given with.
    prefix: stands before the names of the models. exclude: points of the grid to leave out, those
    that have all values of one of these. certify: settings of the step of that name. replaced: axes
    of a file in whose place flags gave others; what is excluded may name their values still.
    """

    name: str
    grid: tuple[Axis, ...]
    fixed: Mapping[str, Any]
    steps: tuple[str, ...] = USUAL_STEPS
    prefix: str = ""
    exclude: tuple[Mapping[str, Any], ...] = ()
    certify: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    replaced: tuple[Axis, ...] = ()

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("prefix", self.prefix)):
            if (text or what == "name") and not (
                NAME.fullmatch(text) and len(text) <= LONGEST_NAME // 2
            ):
                raise UserError(
                    f"{what} '{text[:40]}' of a sweep: use letters, digits, '.', '_' and '-', "
                    f"{LONGEST_NAME // 2} at most, starting with a letter or digit"
                )


def read_request(
    file: Path | None,
    *,
    name: str | None = None,
    grid: Sequence[Axis] = (),
    fixed: Mapping[str, Any] = MappingProxyType({}),
    steps: Sequence[str] = (),
    prefix: str | None = None,
) -> Request:
    """A file and flags as a request; a flag replaces what the file says of the same settings.

    Raises UserError for what is unknown or malformed in the file, for an axis that is given twice,
    and where nothing says what to do.
    """
    content = {} if file is None else _tables(file)
    about = content.get("sweep", {})
    axes = {
        key: axis_of_file(key, value, str(file)) for key, value in content.get("grid", {}).items()
    }
    settings = {
        f"{command}.{key}": value
        for command in ("train", "attack")
        for key, value in content.get(command, {}).items()
    }
    models = settings.pop("attack.models", None)
    if models is not None:
        axes["models"] = axis_of_file("models", models, str(file))
    keys = [axis.key for axis in grid]
    replaced = tuple(axes[key] for key in keys if key in axes)
    for axis in grid:
        if keys.count(axis.key) > 1:
            raise UserError(f"the grid has '{axis.key}' twice: give all its values in one --grid")
        axes[axis.key] = axis
    own = name or about.get("name") or (file.stem if file else None)
    if own is None:
        raise UserError("a sweep without a file needs --name, which finds its results again")
    if not axes and not fixed and not settings:
        raise UserError("nothing to do: give a file, or --grid loss=cross-entropy,trades --name x")
    found = _steps(steps or about.get("steps", USUAL_STEPS))
    trains = makes_models(found, [*axes, *settings, *fixed])
    new = {home for key in [*keys, *fixed] for home in homes(key, trains=trains)}
    kept = {
        key: value for key, value in settings.items() if new.isdisjoint(homes(key, trains=trains))
    }
    return Request(
        name=str(own),
        grid=tuple(axes.values()),
        fixed=kept | dict(fixed),
        steps=found,
        prefix=str(prefix if prefix is not None else about.get("prefix", "")),
        exclude=tuple(content.get("exclude", ())),
        certify=_of_certify(content.get("certify", {}), {*found, *about.get("steps", ())}, file),
        replaced=replaced,
    )


def _of_certify(table: Mapping[str, Any], steps: Set[str], file: Path | None) -> Mapping[str, Any]:
    for key in table:
        if key not in CERTIFY:
            raise UserError(f"{file}: unknown key '{key}' in [certify]{nearest(key, CERTIFY)}")
    method, threat = table.get("method", ""), table.get("threat", [])
    if not isinstance(method, str):
        raise UserError(f"{file}: method in [certify] should be a text such as 'crown'")
    if table and "certify" not in steps:
        raise UserError(f"{file}: [certify] without the step certify; add it to steps of [sweep]")
    refuse_private(file, "certifiers", method)
    return {**table, "threat": [threat]} if isinstance(threat, str) else table


def _tables(file: Path) -> dict[str, Any]:
    content = read_toml(file, "the sweep's file")
    for key, value in content.items():
        if key not in _TABLES:
            raise UserError(f"{file}: unknown table '{key}'{nearest(key, _TABLES)}")
        several = key == "exclude"
        if not isinstance(value, list if several else dict) or (
            several and not all(isinstance(each, dict) and each for each in value)
        ):
            form = f"[[{key}]]" if several else f"[{key}]"
            raise UserError(f"{file}: '{key}' must be a table: {form}")
    for key in content.get("sweep", {}):
        if key not in _ABOUT:
            raise UserError(f"{file}: unknown key '{key}' in [sweep]{nearest(key, _ABOUT)}")
    for table in ("grid", "train", "attack", "certify"):
        for key, value in content.get(table, {}).items():
            kind = SPECS.get(key.rpartition(".")[2], "models" if key.endswith("models") else "")
            if kind:
                refuse_private(file, kind, _flat(value))
    return content


def _flat(value: Any) -> list[Any]:
    """The texts in a value of the grid, of which one may be a list."""
    if not isinstance(value, list):
        return [value]
    return [text for each in value for text in _flat(each)]


def _steps(given: Any) -> tuple[str, ...]:
    if (
        not isinstance(given, list | tuple)
        or not given
        or not all(isinstance(step, str) for step in given)
    ):
        raise UserError(f"steps should be a list of {', '.join(STEPS)}")
    for step in given:
        if step not in STEPS:
            raise unknown("step", step, STEPS)
    return tuple(step for step in STEPS if step in given)
