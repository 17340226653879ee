"""The rows of a sweep's table: every task with what became of it so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from robbench.execution.logs import log_path
from robbench.tasks.sweep.plan import SweepPlan
from robbench.tasks.sweep.state import Record, SweepState

WAITING: Record = {"status": "waiting", "tries": 0}


def task_rows(
    plan: SweepPlan, records: Mapping[str, Record], state: SweepState
) -> list[dict[str, Any]]:
    """One row per task, as the table of tasks has them (`store/tasks.py`)."""
    logs = _logs(state.logs)
    return [
        {
            "task": item.task.id,
            "kind": item.kind,
            "title": item.task.title,
            "model": item.model,
            "settings": json.dumps(item.settings),
            "run_ids": json.dumps((record.get("value") or {}).get("run_ids", [])),
            "log": _log(state, item.task.id, logs),
            "started_at": _time(record.get("started")),
            **{name: record.get(name) for name in _AS_THEY_ARE},
        }
        for item in plan.items
        for record in (records.get(item.task.id, WAITING),)
    ]


_AS_THEY_ARE = ("status", "error", "tries", "seconds", "worker")


def _logs(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _log(state: SweepState, task: str, present: set[str]) -> str | None:
    path = log_path(state.logs, task)
    return str(path.relative_to(state.folder.parent)) if path.name in present else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
