"""The tasks of a sweep, as a table: `results/sweeps/NAME.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.store.from_rows import to_table
from robbench.store.schema import SCHEMA_VERSION, TASKS
from robbench.store.tables import read_table, write_table


def write_tasks(path: Path, sweep: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the tasks of a sweep, one row each. Raises as `Store.write` does."""
    table = to_table(TASKS, rows, schema_version=SCHEMA_VERSION, sweep=sweep)
    write_table(path, table, sweep)


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The tasks of a sweep.

    Raises UserError, naming the file, when it is missing, damaged, foreign or newer.
    """
    return list(read_table(path, "tasks").to_pylist())
