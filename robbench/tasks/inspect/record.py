"""What a model and an attack on it cost, and the record of an inspection."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from robbench.analysis.forecast import Forecast
from robbench.analysis.inspected import Finding, Inspected
from robbench.core.access import access_of
from robbench.core.device import deterministic
from robbench.core.freeze import frozen
from robbench.core.tiles import largest_tile
from robbench.data.base import Split
from robbench.engine.memory import Memory, measure_memory
from robbench.engine.stopwatch import Pace
from robbench.statistics.proportions import wilson
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.forecast import forecast_attack, pace_of
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.forecast import device_text
from robbench.tasks.inspect.answers import Answers
from robbench.tasks.inspect.target import Target

SIZE = 1000  # samples that an attack is forecast for where there are none


class Cost(NamedTuple):
    """Time and memory of a model, and what an attack will take."""

    pace: Pace
    memory: Memory
    forecast: Forecast


def cost_of(plan: AttackPlan, store: Store, config: AttackConfig, *, noise: bool) -> Cost:
    """Measured once, in the shapes of the attack; noise: there are no samples to be attacked."""
    model, split = plan.subject.model, plan.subject.split
    pace = pace_of(plan)
    with frozen(model), deterministic():
        tile = largest_tile(plan.device, split.images.shape[1:])
        memory = measure_memory(model, split.pixels(slice(0, tile.rows)))
    forecast = forecast_attack(plan, store, force=True, pace=pace)
    if noise:
        size = config.limit if isinstance(config.limit, int) else SIZE
        forecast = dataclasses.replace(forecast, samples=size)
    return Cost(pace, memory, forecast)


def record(
    target: Target,
    plan: AttackPlan,
    looked: Split,
    seen: Answers,
    cost: Cost | None,
    found: list[Finding],
) -> Inspected:
    """All that is known of a target as plain values."""
    subject = target.subject
    shape = tuple(subject.split.images.shape[1:])
    tiles = largest_tile(plan.device, shape)
    weights = list(subject.model.parameters())
    correct = None if seen.right is None else int(seen.right.sum())
    interval = (None, None) if correct is None else wilson(correct, len(looked))
    memory = None if cost is None else cost.memory
    climbs = access_of(subject.model) == "white-box"
    return Inspected(
        model=subject.name,
        data=target.data,
        split=None if target.data is None else subject.split.split,
        shape=shape,
        classes=subject.split.classes,
        samples=len(looked),
        of=len(subject.split),
        parameters=sum(weight.numel() for weight in weights),
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        dtypes=tuple(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})),
        normalisation=tuple(one._asdict() for one in seen.normalisations),
        access=access_of(subject.model),
        correct=correct,
        clean_accuracy=None if correct is None else correct / len(looked),
        clean_accuracy_low=interval[0],
        clean_accuracy_high=interval[1],
        device=device_text(plan.device),
        rows=min(tiles.rows, len(subject.split)),
        width=plan.width,
        seconds_forward=None if cost is None else cost.pace.forward,
        seconds_backward=cost.pace.backward if cost and climbs else None,
        memory_forward=None if memory is None else memory.forward,
        memory_backward=memory.backward if memory and climbs else None,
        memory_counted=memory is None or memory.counted,
        threat=plan.threat,
        attack=plan.attack,
        forecast=None if cost is None else cost.forecast,
        findings=tuple(found),
    )
