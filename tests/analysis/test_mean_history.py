"""A model's histories under corruptions as one of their mean."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from robbench.analysis.history import History, Step
from robbench.analysis.mean_history import with_means
from robbench.statistics.proportions import wilson

INFO = {"model": "m", "data": "digits", "split": "test", "data_hash": "d", "subset": None}


def course(threat: str, values: dict[str, float], **changes: Any) -> History:
    """A history with a run a day: values by weights."""
    norm = threat.partition("@")[0]
    steps = []
    for i, (code, value) in enumerate(values.items()):
        begun = datetime(2026, 3, 1) + timedelta(days=i)
        facts = {"threat": threat, "norm": norm, "model_hash": code, "started_at": begun}
        steps.append(Step(INFO | facts, 50, value, 0.0, 1.0))
    return History("robust_accuracy", steps, [], 50, **changes)


FOG = course("corruption:fog@1", {"a": 0.5, "b": 0.8})
SNOW = course("corruption:snow@5", {"a": 0.9, "b": 0.6}, older=3)
BALL = course("linf:0.1", {"a": 0.4})


def test_the_mean_and_the_worst_of_each_weights() -> None:
    """By hand; other histories stay as they are, and in front."""
    first, mean = with_means([FOG, BALL, SNOW])
    assert first is BALL
    assert mean.threats == ["corruption:fog@1", "corruption:snow@5"]
    assert [step.value for step in mean.steps] == pytest.approx([0.7, 0.7])
    assert [step.worst for step in mean.steps] == [
        (0.5, "corruption:fog@1"),
        (0.6, "corruption:snow@5"),
    ]
    assert [step.change for step in mean.steps] == [None, pytest.approx(0)]
    assert (mean.steps[0].low, mean.steps[0].high) == pytest.approx(wilson(35, 50))
    assert (mean.shifts, mean.older) == ([], 3)


def test_only_what_all_weights_have_counts() -> None:
    """A corruption that one of them was not run under stays by itself; one is no mean."""
    frost = course("corruption:frost@1", {"b": 0.1})
    kept, mean = with_means([FOG, frost, SNOW])
    assert kept is frost
    assert len(mean.threats) == 2
    assert with_means([FOG, frost]) == [FOG, frost]


@pytest.mark.parametrize("name", ["model", "data_hash", "split"])
def test_others_are_not_mixed(name: str) -> None:
    """Another model, or other samples."""
    steps = [dataclasses.replace(step, info=step.info | {name: "x"}) for step in SNOW.steps]
    other = dataclasses.replace(SNOW, steps=steps)
    assert with_means([FOG, other]) == [FOG, other]
