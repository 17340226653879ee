"""What a sweep will cost: each kind of training and of attack is measured once, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from robbench.analysis.forecast import Forecast, SweepForecast, together
from robbench.core.device import find_device
from robbench.core.spec import canonical_json, validate
from robbench.engine.stopwatch import Pace
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.forecast import forecast_attack, pace_of
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.forecast import device_text
from robbench.tasks.sweep.plan import Item
from robbench.tasks.sweep.start import Ahead, Place
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.forecast import forecast_training
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.settings import settings_with_recipe

T = TypeVar("T")
MOST_KINDS = 16
"""Kinds of training, and of attack, that are measured; others count as their mean."""
_ANY = {"seed", "epochs", "lr", "weight_decay", "momentum", "schedule", "tag", "name"}
"""Settings that change nothing about the time of a step."""


def forecast_sweep(ahead: Ahead, place: Place) -> SweepForecast:
    """Measure the kinds of tasks; nothing is written, models to be trained are taken untrained.

    Raises as the tasks themselves would.
    """
    todo = ahead.todo
    trainings = [item for item in todo if item.kind == "train"]
    attacks = [item for item in todo if item.kind == "attack"]
    made = {item.task.id: item.settings for item in ahead.plan.items if item.kind == "train"}
    subjects = {item.task.id: _subject(item, made) for item in attacks}
    paces: dict[str, Pace] = {}

    def training_kind(item: Item) -> str:
        return _kind(item.settings)

    def attack_kind(item: Item) -> str:
        return _kind(item.settings, subjects[item.task.id])

    per_epoch, trainings_left = _by_kind(trainings, training_kind, lambda item: _epoch(item, place))
    seconds = sum(
        per_epoch[kind] * settings_with_recipe(item.settings, place.out).epochs
        for item in trainings
        if (kind := training_kind(item)) in per_epoch
    )
    found, attacks_left = _by_kind(
        attacks, attack_kind, lambda item: _attack(item, subjects[item.task.id], paces, place)
    )
    known = [found[kind] for item in attacks if (kind := attack_kind(item)) in found]
    more_trainings = _rest(len(trainings), trainings_left)
    more_attacks = _rest(len(attacks), attacks_left)
    return SweepForecast(
        n_trainings=len(trainings),
        n_attacks=len(attacks),
        n_others=len(todo) - len(trainings) - len(attacks),
        trainings=seconds * more_trainings,
        attacks=_total([one.seconds and one.seconds.mean for one in known], more_attacks),
        attacks_at_most=_total([one.seconds_at_most for one in known], more_attacks),
        queries_at_most=_total([one.queries_at_most for one in known], more_attacks),
        kinds=len(per_epoch) + len(found),
        guessed=trainings_left + attacks_left,
        device=device_text(find_device(place.device)),
    )


def _by_kind(
    items: Sequence[Item], kind: Callable[[Item], str], measure: Callable[[Item], T]
) -> tuple[dict[str, T], int]:
    """The measurement of each kind, up to MOST_KINDS; and how many tasks are of another."""
    found: dict[str, T] = {}
    others = 0
    for item in items:
        name = kind(item)
        if name not in found and len(found) < MOST_KINDS:
            found[name] = measure(item)
        others += name not in found
    return found, others


def _rest(tasks: int, guessed: int) -> float:
    """By what the cost of those that were measured is multiplied for that of all."""
    return tasks / (tasks - guessed) if tasks > guessed else 1.0


def _total(values: Sequence[float | None], more: float) -> float | None:
    return None if None in values else more * sum(value or 0.0 for value in values)


def _kind(settings: Mapping[str, Any], *more: Any) -> str:
    return canonical_json(
        [{name: value for name, value in settings.items() if name not in _ANY}, *more]
    )


def _epoch(item: Item, place: Place) -> float:
    """Seconds of an epoch of a training."""
    config = settings_with_recipe(item.settings, place.out)
    plan = plan_training(
        config,
        name=item.model,
        out=place.out,
        device=place.device,
        data_dir=place.data_dir,
        download=place.download,
    )
    began = time.perf_counter()
    found = forecast_training(plan)
    # An epoch of one step has been made in full.
    return found.seconds / config.epochs if found else time.perf_counter() - began


def _subject(item: Item, made: Mapping[str, Mapping[str, Any]]) -> tuple[str, str | None]:
    """What to ask in the place of a task's model, and its data: of a training its architecture."""
    for name in item.task.after:
        if (settings := made.get(name)) is not None:
            model = settings.get("model", TrainConfig.model)
            return str(model), str(settings.get("data", TrainConfig.data))
    return item.model, None


def _attack(
    item: Item, subject: tuple[str, str | None], paces: dict[str, Pace], place: Place
) -> Forecast:
    """The forecast of an attack; of each kind of model the pace is measured once, in `paces`."""
    model, data = subject
    settings = {**({} if data is None else {"data": data}), **item.settings}
    found: list[Forecast] = []
    for plan in plan_attacks(
        [model],
        validate(AttackConfig, settings, "attack"),
        out=place.out,
        device=place.device,
        data_dir=place.data_dir,
        download=place.download,
    ):
        others = {name: value for name, value in settings.items() if name != "threat"}
        kind = _kind(others, plan.subject.name, plan.threats[0].norm_name)
        if kind not in paces:
            paces[kind] = pace_of(plan)
        found.append(forecast_attack(plan, Store(place.out), force=True, pace=paces[kind]))
    return found[0] if len(found) == 1 else together(found)
