"""The tasks of a sweep, from a request: no model, no data and no code of specs is looked at."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from robbench.core.errors import UserError
from robbench.core.part import WHOLE, Part
from robbench.core.spec import short_hash
from robbench.execution.task import Task
from robbench.tasks.sweep.axes import Resolved, Values, resolve, settings_at, texts_at
from robbench.tasks.sweep.grid import MOST_LISTED, matches
from robbench.tasks.sweep.names import model_name_at
from robbench.tasks.sweep.request import CERTIFY, Request
from robbench.tasks.train.naming import slug

Kind = Literal["train", "attack", "measure", "check", "certify"]
LONGEST_TAG = 200
_LONGEST_ID = 60  # characters of a model's name in the id of a task, which names its log


class Item(NamedTuple):
    """A task, and what its row in the sweep's table says of it."""

    kind: Kind
    model: str
    settings: Mapping[str, Any]
    task: Task


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """All tasks of a sweep, each after those it needs."""

    request: Request
    grid: Resolved
    items: list[Item]

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.request.name

    def of(self, part: Part) -> list[Item]:
        """The tasks of a part: every count-th model, with all that is done with it."""
        if part == WHOLE:
            return self.items
        models = list(dict.fromkeys(item.model for item in self.items))
        if part.count > len(models):
            raise UserError(
                f"part {part} of {len(models)} models: make at most {len(models)} parts"
            )
        own = {models[n] for n in part.of(len(models))}
        return [item for item in self.items if item.model in own]

    @property
    def tag(self) -> str:
        """The tag of its runs."""
        return f"sweep={self.request.name}"


def plan_sweep(request: Request, place: Mapping[str, Any], *, force: bool = False) -> SweepPlan:
    """Expand a request.

    place: what every task is given besides its settings, where results and data are. Raises
    UserError for what `resolve` refuses, names of models that collide, and a grid with nothing left
    in it.
    """
    grid = resolve(request)
    _require_possible(request, grid)
    plan = SweepPlan(request, grid, [])
    common = {**place, "force": force}
    plan.items.extend(_items(plan, common))
    if not plan.items:
        raise UserError("nothing is left of the grid: every point is excluded")
    return plan


def _require_possible(request: Request, grid: Resolved) -> None:
    after = set(request.steps) & {"measure", "check", "certify", "compare"}
    if "attack" not in request.steps and (after - {"compare"} or not grid.trains):
        raise UserError(f"the steps {', '.join(request.steps)} need the step attack")
    trainings, attacks = 1, 1
    for axis in grid.axes:
        if axis.of("train"):
            trainings *= len(axis)
        else:
            attacks *= len(axis)
    per_attack = 1 + len(after - {"compare"}) if "attack" in request.steps else 0
    tasks = trainings * (1 + attacks * per_attack)
    if tasks > MOST_LISTED:
        raise UserError(
            f"the sweep would have {tasks:,} tasks, and {MOST_LISTED:,} are the most: vary less, "
            "or make several sweeps"
        )


def _items(plan: SweepPlan, common: Mapping[str, Any]) -> Iterator[Item]:
    """Trainings, each followed by its attacks, then the attacks of models that are there."""
    grid, request = plan.grid, plan.request
    if grid.trains:
        outer = [axis for axis in grid.axes if axis.of("train")]
        inner = [axis for axis in grid.axes if not axis.of("train")]
        names: dict[str, Mapping[str, str]] = {}
        for point in _points(outer):
            settings = {**grid.train, **settings_at(outer, point, "train")}
            here = texts_at(outer, point)
            if matches(here, grid.exclude):
                continue
            name = model_name_at(request.prefix, outer, point, settings)
            _require_new(names, name, here)
            train = _task("train", name, settings, {"name": name}, common)
            yield train
            shared = settings_at(outer, point, "attack")
            yield from _attacks(plan, name, inner, shared, here, common, train.task)
    axes = [axis for axis in grid.axes if axis.of("attack")]
    for model in grid.models:
        yield from _attacks(plan, model, axes, {}, {"models": model}, common)


def _attacks(
    plan: SweepPlan,
    model: str,
    axes: Sequence[Values],
    shared: Mapping[str, Any],
    here: Mapping[str, str],
    common: Mapping[str, Any],
    training: Task | None = None,
) -> Iterator[Item]:
    """Every attack on a model, with what looks at its runs."""
    steps, fixed = plan.request.steps, plan.grid.attack
    if "attack" not in steps:
        return
    points = {"store_points": True} if "measure" in steps else {}
    varying = [axis for axis in axes if len(axis) > 1]
    after = () if training is None else (training.id,)
    certified = set[str]()  # attacks may share their threat model and samples
    for point in _points(axes):
        texts = {**here, **texts_at(axes, point)}
        if matches(texts, plan.grid.exclude):
            continue
        settings = {**fixed, **points, **shared, **settings_at(axes, point, "attack")}
        said = [texts[axis.key] for axis in varying]
        more = {"model": model, "tags": _tags(plan, texts), "after": after}
        found = _task("attack", model, settings, more, common, said, after)
        yield found
        for kind in ("measure", "check"):
            if kind in steps:
                yield _task(kind, model, settings, more, common, said, (found.task.id,))
        if "certify" in steps:
            own = {name: settings[name] for name in CERTIFY if name in settings}
            own |= plan.request.certify
            said = [
                texts[axis.key] for axis in varying if any(home.name in own for home in axis.homes)
            ]
            certify = _task("certify", model, own, {"model": model}, common, said, after)
            if certify.task.id not in certified:
                certified.add(certify.task.id)
                yield certify


def _task(
    kind: Kind,
    model: str,
    settings: Mapping[str, Any],
    more: Mapping[str, Any],
    common: Mapping[str, Any],
    said: Sequence[str] = (),
    after: tuple[str, ...] = (),
) -> Item:
    """A task; its id is a hash of its settings and of the tasks that it comes after."""
    identity = short_hash([kind, model, settings, more.get("after")])
    payload = {"settings": settings, "place": common} | {
        key: value for key, value in more.items() if key != "after"
    }
    return Item(
        kind,
        model,
        settings,
        Task(
            id=f"{kind}-{slug(model)[:_LONGEST_ID]}-{identity}",
            call=f"robbench.tasks.sweep.steps:{kind}",
            payload=payload,
            title=" ".join([kind, model, *said]),
            after=after,
            cpus=common.get("processes", 1) if kind == "train" else 1,
        ),
    )


def _points(axes: Sequence[Values]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(len(axis)) for axis in axes))


def _tags(plan: SweepPlan, texts: Mapping[str, str]) -> list[str]:
    """The sweep, and what varies in it: tags are no part of a run's identity."""
    varying = {axis.key for axis in plan.grid.axes if len(axis) > 1}
    found = [f"{key}={text}" for key, text in texts.items() if key in varying]
    own = plan.grid.attack.get("tag", [])
    return [plan.tag, *own, *(tag for tag in found if len(tag) <= LONGEST_TAG)]


def _require_new(names: dict[str, Mapping[str, str]], name: str, point: Mapping[str, str]) -> None:
    if name in names:
        both = " and ".join(
            ", ".join(f"{key}={text}" for key, text in one.items()) for one in (names[name], point)
        )
        raise UserError(
            f"two models of the grid would have the name {name}: {both}; leave one of them out, or "
            "put it in a sweep with another --prefix"
        )
    names[name] = point
