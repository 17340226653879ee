"""Histories as they are collected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from robbench.analysis.history import History, Shift, Step

INFO = {
    "model": "nightly",
    "data": "digits",
    "split": "test",
    "threat": "linf:0.15",
    "attack": "pgd",
    "target": None,
    "robbench_version": "1",
    "git_dirty": False,
}


@pytest.fixture
def course() -> Callable[..., History]:
    """A history of a run a day with these values, each with a change to the one before."""

    def make(values: list[float], hours: int = 24, **changes: Any) -> History:
        steps = [
            Step(
                INFO
                | {
                    "run_id": f"{i:012d}",
                    "started_at": datetime(2026, 3, 1, 4) + timedelta(hours=i * hours),
                    "git_sha": f"{i}234567890",
                    "model_hash": f"{i}fedcba9876543210",
                },
                200,
                value,
                value - 0.05,
                value + 0.05,
                *([value - values[i - 1], -0.1, 0.1, 200] if i else []),
            )
            for i, value in enumerate(values)
        ]
        facts: dict[str, Any] = {
            "measure": "robust_accuracy",
            "steps": steps,
            "shifts": [],
            "joint": 200,
        }
        return History(**facts | changes)

    return make


@pytest.fixture
def fallen(course: Callable[..., History]) -> History:
    """Four runs, of which the third is the first after a drop."""
    return course([0.8, 0.8, 0.6, 0.6], shifts=[Shift(2, 1, 2, 0.001, 0.8, 0.6)])
