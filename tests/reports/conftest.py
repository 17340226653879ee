"""Handmade runs with all the columns a report reads, and a store that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from robbench.analysis.summary import summarise
from robbench.reports.html.data import COLUMNS
from robbench.store.run import Run, read_run
from robbench.store.schema import RUNS
from robbench.store.store import Store

ARGV = ["/opt/bin/robbench", "attack", "ce", "--threat", "linf:0.1"]


def _rows(n: int = 40, seed: int = 0, eps: float = 0.1, labels: int = 4) -> list[dict[str, Any]]:
    """Sample rows: one in ten wrong when clean, others fall if nearer than eps (up to 0.3)."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        size, correct = float(rng.uniform(0, 0.3)), i % 10 != 0
        adversarial = not correct or size <= eps
        rows.append(
            {
                "sample_id": 1000 + i,
                "sample_index": i,
                "label": i % labels,
                "clean_pred": i % labels if correct else (i + 1) % labels,
                "clean_margin": 10 * size if correct else -1.0,
                "clean_pmargin": 0.5,
                "adv_pred": i % labels,
                "adv_margin": -0.5 if adversarial else 3 * size,
                "adv_pmargin": -0.25,
                "clean_correct": correct,
                "adversarial": adversarial,
                "robust": not adversarial,
                "dist_linf": size if adversarial and correct else 0.0 if adversarial else None,
                "dist_l2": None,
                "broken_by": "pgd" if adversarial and correct else None,
                "broken_variant": None,
                "first_success_step": None,
                "n_forward": 11,
                "n_backward": 10,
                "status": 0,
            }
        )
    return rows


@pytest.fixture
def handmade_rows() -> Callable[..., list[dict[str, Any]]]:
    """Sample rows by (n, seed, eps, labels)."""
    return _rows


@pytest.fixture
def add_run(tmp_path: Path) -> Callable[..., tuple[Path, Run]]:
    """Write a handmade run to the store in tmp_path / "S"; gives its runs file and the run."""

    def add(
        run_id: str, rows: list[dict[str, Any]] | None = None, eps: float = 0.1, **changes: Any
    ) -> tuple[Path, Run]:
        rows = _rows(eps=eps) if rows is None else rows
        start = datetime(2026, 1, 1, 12, tzinfo=UTC)
        row: dict[str, Any] = {
            field.name: "x"
            for field in RUNS
            if not field.nullable and pa.types.is_string(field.type)
        }
        row |= {
            "started_at": start,
            "finished_at": start + timedelta(seconds=3),
            "run_id": run_id,
            "model": "ce",
            "loss": "ce",
        }
        row |= {
            "data": "digits",
            "split": "test",
            "norm": "linf",
            "eps": eps,
            "threat": f"linf:{eps}",
            "attack": "pgd",
            "seed": 0,
        }
        row |= {
            "wall_s": 1.5,
            "batch_size": 64,
            "deterministic": True,
            "config": "{}",
            "attack_params": "[]",
            "flags": "[]",
        }
        row["provenance"] = json.dumps(
            {"argv": ARGV, "packages": {"torch": "2.0"}, "platform": "Linux"}
        )
        del row["status"]
        path = Store(tmp_path / "S").write(row | summarise(rows) | changes, rows)
        return path, read_run(path, COLUMNS)

    return add
