"""What a sweep will cost: each kind of training and of attack is measured once, on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.forecast import Forecast, SweepForecast, together
from robbench.core.device import find_device
from robbench.core.spec import canonical_json, validate
from robbench.engine.stopwatch import Pace
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.forecast import forecast_attack, pace_of
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.forecast import device_text
from robbench.tasks.listener import Listener
from robbench.tasks.sweep.plan import Item
from robbench.tasks.sweep.start import Ahead, Place
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.forecast import forecast_training
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.settings import settings_with_recipe

MOST_KINDS = 16
"""Kinds of training, and of attack, that are measured; others count as their mean."""
_ANY = {"seed", "epochs", "lr", "weight_decay", "momentum", "schedule", "tag", "name"}
"""Settings that change nothing about the time of a step."""


def forecast_sweep(ahead: Ahead, place: Place, listener: Listener | None = None) -> SweepForecast:
    """Measure the kinds of tasks; nothing is written, models to be trained are taken untrained.

    Raises as the tasks themselves would.
    """
    todo = ahead.todo
    trainings = [item for item in todo if item.kind == "train"]
    attacks = [item for item in todo if item.kind == "attack"]
    made = {item.task.id: item.settings for item in ahead.plan.items if item.kind == "train"}
    subjects = {item.task.id: _subject(item, made) for item in attacks}
    training_kinds = [_kind(item.settings) for item in trainings]
    attack_kinds = [_kind(item.settings, subjects[item.task.id]) for item in attacks]
    to_train, to_attack = _firsts(trainings, training_kinds), _firsts(attacks, attack_kinds)
    per_epoch: dict[str, float] = {}
    found: dict[str, Forecast] = {}
    paces: dict[str, Pace] = {}
    with (listener or Listener()).progress("forecast") as bar:
        for kind, item in {**to_train, **to_attack}.items():
            done, total = len(per_epoch) + len(found), len(to_train) + len(to_attack)
            bar.update(done / total, f"{item.task.title}, {done + 1} of {total}")
            if kind in to_train:
                per_epoch[kind] = _epoch(item, place)
            else:
                found[kind] = _attack(item, subjects[item.task.id], paces, place)
    seconds = [
        per_epoch[kind] * settings_with_recipe(item.settings, place.out).epochs
        for item, kind in zip(trainings, training_kinds, strict=True)
        if kind in per_epoch
    ]
    known = [found[kind] for kind in attack_kinds if kind in found]
    more_trainings = _rest(len(trainings), len(seconds))
    more_attacks = _rest(len(attacks), len(known))
    return SweepForecast(
        n_trainings=len(trainings),
        n_attacks=len(attacks),
        n_others=len(todo) - len(trainings) - len(attacks),
        trainings=sum(seconds) * more_trainings,
        attacks=_total([one.seconds and one.seconds.mean for one in known], more_attacks),
        attacks_at_most=_total([one.seconds_at_most for one in known], more_attacks),
        queries_at_most=_total([one.queries_at_most for one in known], more_attacks),
        kinds=len(per_epoch) + len(found),
        guessed=len(trainings) - len(seconds) + len(attacks) - len(known),
        device=device_text(find_device(place.device)),
    )


def _firsts(items: Sequence[Item], kinds: Sequence[str]) -> dict[str, Item]:
    """The first task of each of the first MOST_KINDS kinds."""
    first: dict[str, Item] = {}
    for item, kind in zip(items, kinds, strict=True):
        if len(first) < MOST_KINDS:
            first.setdefault(kind, item)
    return first


def _rest(tasks: int, known: int) -> float:
    """By what the cost of those that are known is multiplied for that of all."""
    return tasks / known if known else 1.0


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
