"""The keys of a request resolved: whose settings they are, and every value with its type."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from robbench.catalogue.recipes import read_recipe
from robbench.core.errors import UserError, nearest, unknown
from robbench.core.limits import time_text
from robbench.core.spec import validate
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.sweep.grid import MOST_LISTED, Axis, spelled
from robbench.tasks.sweep.keys import EPS, MODELS, Command, Home, homes, makes_models, names_models
from robbench.tasks.sweep.request import Request
from robbench.tasks.train.config import TrainConfig

_CONFIGS: dict[Command, type] = {"train": TrainConfig, "attack": AttackConfig}
_MOST_NAMED = 20  # values of an axis that an error spells out
_SEVERAL = {field.name for field in dataclasses.fields(AttackConfig) if "tuple" in str(field.type)}


class Values(NamedTuple):
    """An axis: the settings it gives, and for each of them its values as plain JSON."""

    key: str
    homes: tuple[Home, ...]
    values: tuple[Sequence[Any], ...]  # one sequence per home, all of one length

    def __len__(self) -> int:
        return len(self.values[0])

    def of(self, command: Command) -> dict[str, Sequence[Any]]:
        """The settings of one command among them, and their values."""
        found = zip(self.homes, self.values, strict=True)
        return {home.name: values for home, values in found if home.command == command}


class Resolved(NamedTuple):
    """A request whose keys are known: its axes, and the settings that do not vary.

    exclude: of each rule by key the texts of its values, as `texts_at` has them.
    """

    trains: bool
    axes: tuple[Values, ...]
    models: tuple[str, ...]  # that are there already
    train: dict[str, Any]
    attack: dict[str, Any]
    exclude: tuple[Mapping[str, frozenset[str]], ...]


def resolve(request: Request) -> Resolved:
    """Find whose every key is, and give every value its type.

    Raises UserError for unknown keys, bad and repeated values, a setting that is given twice, what
    is excluded without being in the grid, and for more tasks than a sweep may have.
    """
    keys = [*(axis.key for axis in request.grid), *request.fixed]
    trains = makes_models(request.steps, keys)
    if not trains and not names_models(keys):
        raise UserError("nothing to attack: add the step train, or name models=NAME,NAME")
    _require_small(request.grid)
    axes = [_values(axis, homes(axis.key, trains=trains)) for axis in request.grid]
    fixed: dict[Home, Any] = {}
    seen: dict[Home, str] = {}
    for axis in axes:
        if any(home.name == "tag" for home in axis.homes):
            raise UserError("a tag changes nothing, so it cannot vary: give tags in [attack]")
        for home in axis.homes:
            _once(seen, home, axis.key)
    for key, value in request.fixed.items():
        for home in homes(key, trains=trains):
            _once(seen, home, key)
            fixed[home] = _typed(key, home, value)
    models = [axis for axis in axes if MODELS in axis.homes]
    given_models = models[0].values[0] if models else fixed.pop(MODELS, [])
    named = [given_models] if isinstance(given_models, str) else given_models
    axes = [axis for axis in axes if MODELS not in axis.homes]
    excludable = [*axes, *([Values(MODELS.name, (MODELS,), (named,))] if named else [])]
    return Resolved(
        trains,
        tuple(axes),
        tuple(named),
        {home.name: value for home, value in fixed.items() if home.command == "train"},
        {home.name: value for home, value in fixed.items() if home.command == "attack"},
        tuple(dict(_excluded(rule, excludable, request.replaced)) for rule in request.exclude),
    )


def _require_small(axes: Sequence[Axis]) -> None:
    points = math.prod(len(axis.values) for axis in axes)
    if points > MOST_LISTED:
        sizes = " x ".join(f"{len(axis.values):,} {axis.key}" for axis in axes)
        raise UserError(
            f"the grid has {points:,} points ({sizes}), and {MOST_LISTED:,} are the most: vary "
            "less, or make several sweeps"
        )


def _once(seen: dict[Home, str], home: Home, key: str) -> None:
    if (other := seen.setdefault(home, key)) is not key:
        both = f"'{key}'" if other == key else f"'{other}' and '{key}'"
        raise UserError(
            f"{home.command}.{home.name} is given twice, by {both}: leave one of them out"
        )


def _values(axis: Axis, found: tuple[Home, ...]) -> Values:
    given = axis.values
    if isinstance(given, range):
        ends = [_typed(axis.key, home, end) for home in found for end in (given[0], given[-1])]
        if all(type(end) is int for end in ends):  # then all of them are what they are
            return Values(axis.key, found, tuple(given for _ in found))
    typed = tuple([_typed(axis.key, home, value) for value in given] for home in found)
    texts = [value_text(value) for value in typed[0]]
    text, times = Counter(texts).most_common(1)[0]
    if times > 1:
        raise UserError(f"'{axis.key}' has the value {text} twice: leave one out")
    return Values(axis.key, found, typed)


def _excluded(
    rule: Mapping[str, Any], axes: Sequence[Values], replaced: Sequence[Axis]
) -> Iterator[tuple[str, frozenset[str]]]:
    """The keys of a rule with the texts of its values, which are written as in the grid.

    replaced: as of a Request.
    """
    of_key, before = {axis.key: axis for axis in axes}, {axis.key: axis.values for axis in replaced}
    for key, given in rule.items():
        if key not in of_key:
            raise UserError(f"exclude: '{key}' is not in the grid{nearest(key, of_key)}")
        home = of_key[key].homes[0]
        known = {value_text(value) for value in of_key[key].values[0]}
        known |= {value_text(_typed(key, home, value)) for value in before.get(key, ())}
        texts = set[str]()
        for value in spelled(key, given if isinstance(given, list) else [given]):
            text = value_text(_typed(key, home, value))
            if text not in known:
                many = f"the grid has {len(known):,} of them" if len(known) > _MOST_NAMED else ""
                raise unknown(f"value of '{key}' to exclude", text, () if many else known, many)
            texts.add(text)
        yield key, frozenset(texts)


def _typed(key: str, home: Home, value: Any) -> Any:
    """The value as its setting has it, as plain JSON."""
    if home == MODELS:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(one, str) and one for one in texts):
            raise UserError("models should be names of models or specs")
        return value
    if home.name == "recipe":
        read_recipe(str(value))
        return str(value)
    if key.rpartition(".")[2] == EPS:
        value = f"linf:{value}"
    if home.command == "attack" and home.name in _SEVERAL and isinstance(value, str):
        value = [value]
    built: Any = validate(_CONFIGS[home.command], {home.name: value}, "sweep")
    found = getattr(built, home.name)
    if home.name == "max_time" and found is not None:
        return time_text(found)
    return list(found) if isinstance(found, tuple) else found


def value_text(value: Any) -> str:
    """A value as titles and tags have it: `apgd + square` of several attacks."""
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def settings_at(axes: Sequence[Values], point: Sequence[int], command: Command) -> dict[str, Any]:
    """The settings of a command at a point of the grid, which has an index for every axis."""
    return {
        name: values[n]
        for axis, n in zip(axes, point, strict=True)
        for name, values in axis.of(command).items()
    }


def texts_at(axes: Sequence[Values], point: Sequence[int]) -> Mapping[str, str]:
    """A point of the grid by its keys, as texts."""
    return {axis.key: value_text(axis.values[0][n]) for axis, n in zip(axes, point, strict=True)}
