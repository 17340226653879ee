"""The settings that a sweep may give or vary, and whose they are: the training's, the attack's."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from robbench.core.errors import UserError, unknown
from robbench.core.spec import option_names
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.train.config import TrainConfig

Command = Literal["train", "attack"]


class Home(NamedTuple):
    """A setting of a command."""

    command: Command
    name: str


MODELS = Home("attack", "models")
"""Models that are there already: the only setting of an attack that is none of its config."""
EPS = "eps"  # short for a threat model of linf
TRAIN = (*option_names(TrainConfig), "recipe")
ATTACK = (
    *(name for name in option_names(AttackConfig) if name not in ("name", "measure")),
    MODELS.name,
    EPS,
)
_OF_BOTH = ("limit",)
_OF_ATTACK = ("threat",)  # one training, several budgets


def homes(key: str, *, trains: bool) -> tuple[Home, ...]:
    """The settings that a key means: `train.KEY` and `attack.KEY` those of one command.

    Without such a prefix: `limit` is of both commands, `threat` of the attack, and what both have
    else is the training's; all of them are the attack's where nothing is trained. Raises UserError
    for an unknown key, naming the nearest, and for a setting of a training that is not made.
    """
    command, dot, name = key.replace("-", "_").partition(".")
    if not dot:
        name = command
        mine = name in TRAIN and (trains or name not in ATTACK)
        if name not in TRAIN and name not in ATTACK:
            raise unknown("setting", key, {*TRAIN, *ATTACK})
        if mine and name not in _OF_ATTACK:
            both = name in _OF_BOTH and name in ATTACK
            found = ("train", "attack") if both else ("train",)
            return _allowed([_home(each, name) for each in found], key, trains)
        return (_home("attack", name),)
    if command not in ("train", "attack"):
        raise UserError(f"setting '{key}': the part before the dot is train or attack")
    if name not in (TRAIN if command == "train" else ATTACK):
        known = TRAIN if command == "train" else ATTACK
        raise unknown("setting", key, [f"{command}.{each}" for each in known])
    return _allowed([_home(command, name)], key, trains)


def makes_models(steps: Collection[str], keys: Collection[str]) -> bool:
    """Whether a sweep of these steps and settings trains, not just attacks models it names."""
    return "train" in steps and (not names_models(keys) or any(map(trains_by, keys)))


def names_models(keys: Iterable[str]) -> bool:
    """Whether models that are there already are among the settings."""
    return any(key.removeprefix("attack.") == MODELS.name for key in keys)


def _home(command: str, name: str) -> Home:
    if name == EPS:
        return Home("attack", "threat")
    return Home("train" if command == "train" else "attack", name)


def _allowed(found: list[Home], key: str, trains: bool) -> tuple[Home, ...]:
    if not trains and any(home.command == "train" for home in found):
        raise UserError(
            f"'{key}' is a setting of training, and this sweep trains nothing: leave it out, or "
            "add the step train"
        )
    return tuple(found)


def trains_by(key: str) -> bool:
    """Whether a key can only mean that models are trained."""
    command, dot, _ = key.replace("-", "_").partition(".")
    return command == "train" if dot else command in TRAIN and command not in ATTACK
