"""Compare runs of a store: find them, read them, pair them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robbench.results.compare import COLUMNS, compare
from robbench.results.store import Store, read_run


def compare_runs(names: Sequence[str], out: Path) -> list[dict[str, Any]]:
    """One row per run (see `results/compare.py`); no names mean all of the store."""
    return compare([read_run(path, COLUMNS) for path in Store(out).find(names)])
