"""The measures of a run: ROOT/results/measures and ROOT/results/sample_measures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.errors import RunError
from robbench.core.spec import finite
from robbench.store.from_rows import to_table
from robbench.store.locations import sibling_table
from robbench.store.schema import MEASURES, SAMPLE_MEASURES
from robbench.store.sound import require_margins
from robbench.store.tables import read_table, write_table


class Measure(NamedTuple):
    """A row of the measures table, with its detail as plain values.

    A value that is no finite number is null there.
    """

    name: str
    points: str
    split: str
    value: float | None
    detail: dict[str, Any] = {}
    label: int | None = None  # the class; None = all


def write_measures(
    run: Path, measures: Sequence[Measure], samples: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write a run's measures, after its `samples` (rows of sample_measures, if given).

    `run` is its runs file.

    Raises ValueError or TypeError for rows that do not fit, RunError when they cannot be written.
    """
    path = sibling_table(run, "measures")
    rows = [
        {
            "name": m.name,
            "points": m.points,
            "split": m.split,
            "class": m.label,
            "value": finite(m.value),
            "detail": json.dumps(finite(m.detail), allow_nan=False) if m.detail else None,
        }
        for m in measures
    ]
    table = to_table(MEASURES, rows, run_id=run.stem)
    if samples is not None:
        by_sample = to_table(SAMPLE_MEASURES, samples, run_id=run.stem)
        write_table(sibling_table(run, "sample_measures"), by_sample, run.stem)
    write_table(path, table, run.stem)


def read_measures(run: Path) -> list[Measure] | None:
    """A run's measures, None when there are none, given its runs file.

    Raises UserError when their file is damaged.
    """
    path = sibling_table(run, "measures")
    if not path.exists():
        return None
    rows = read_table(path, "measures").to_pylist()
    found = [
        Measure(
            row["name"],
            row["points"],
            row["split"],
            row["value"],
            json.loads(row["detail"] or "{}"),
            row["class"],
        )
        for row in rows
    ]
    require_margins({(m.name, m.split): m.detail for m in found}, str(path))
    return found


def read_sample_measures(run: Path) -> list[dict[str, Any]]:
    """The measures of a run's samples, given its runs file.

    Raises UserError when their file is missing or damaged.
    """
    return list(read_table(sibling_table(run, "sample_measures"), "sample_measures").to_pylist())


def remove_measures(run: Path) -> None:
    """Drop what was measured on a run that is written anew, given its runs file.

    Raises RunError when it cannot.
    """
    for path in (sibling_table(run, "measures"), sibling_table(run, "sample_measures")):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot remove {path}: {error.strerror or error}") from error
