"""Runs and sample rows to test with: made from a seed, and consistent as the engine's are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from robbench.results.schema import RUNS
from robbench.results.store import Run, Store, read_run
from robbench.results.summary import summarise

Rows = list[dict[str, Any]]


@pytest.fixture
def make_samples() -> Callable[..., Rows]:
    """Sample rows by (n, seed, breakable): `breakable` is the chance that a clean-correct sample is broken."""

    def make(n: int = 20, seed: int = 0, breakable: float = 0.5, first: int = 0) -> Rows:
        rng = np.random.default_rng(seed)
        rows = []
        for i in range(first, first + n):
            correct = bool(rng.random() < 0.9)
            adversarial = not correct or bool(rng.random() < breakable)
            rows.append(
                {
                    "sample_id": 1000 + 7 * i,
                    "sample_index": i,
                    "label": 3,
                    "clean_pred": 3 if correct else 4,
                    "clean_margin": float(rng.normal(5 if correct else -5)),
                    "clean_pmargin": 0.75,
                    "adv_pred": 4 if adversarial else 3,
                    "adv_margin": float(rng.normal(-1 if adversarial else 1)),
                    "adv_pmargin": -0.25,
                    "clean_correct": correct,
                    "adversarial": adversarial,
                    "robust": not adversarial,
                    "dist_linf": 0.125 if adversarial else None,
                    "dist_l2": None,
                    "broken_by": "pgd:steps=10" if adversarial and correct else None,
                    "broken_variant": 2 if adversarial and correct else None,
                    "first_success_step": 5 if adversarial else None,
                    "n_forward": int(rng.integers(1, 100)),
                    "n_backward": int(rng.integers(1, 100)),
                    "status": 0,
                }
            )
        return rows

    return make


@pytest.fixture
def make_run() -> Callable[..., dict[str, Any]]:
    """A row for the runs table, counted from `samples`; `age` seconds later than the first."""

    def make(run_id: str, samples: Rows, age: int = 0, **changes: Any) -> dict[str, Any]:
        start = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=age)
        row: dict[str, Any] = {field.name: "x" for field in RUNS if not field.nullable and pa.types.is_string(field.type)}
        row |= {"started_at": start, "finished_at": start + timedelta(seconds=3)}
        row |= {"run_id": run_id, "model": "ce", "loss": "ce", "data": "digits", "split": "test"}
        del row["status"]
        row |= {"norm": "linf", "eps": 0.15, "threat": "linf:0.15", "attack": "pgd:steps=10", "attack_params": "[]", "seed": 0}
        row |= {"wall_s": 1.5, "batch_size": 64, "deterministic": False, "config": "{}", "provenance": "{}"}
        return row | summarise(samples) | changes

    return make


@pytest.fixture
def stored(tmp_path: Path, make_samples: Callable[..., Rows], make_run: Callable[..., dict[str, Any]]) -> Callable[..., Run]:
    """Write a run to the store in tmp_path and read it back."""

    def store(run_id: str, samples: Rows | None = None, **changes: Any) -> Run:
        samples = make_samples() if samples is None else samples
        return read_run(Store(tmp_path).write(make_run(run_id, samples, **changes), samples))

    return store
