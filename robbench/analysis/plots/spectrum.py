"""Singular values of the penultimate features, as `robbench measure` found them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robbench.analysis.commands import about_runs
from robbench.analysis.plots.lines import Line, Plotted, training_of
from robbench.analysis.plots.scope import about
from robbench.analysis.series import model_names, name_of
from robbench.core.errors import UserError
from robbench.store.run import Run

COLUMNS = ("name", "points", "split", "class", "value", "detail")
"""The columns of the measures table that it needs."""

FLOOR = 1e-6
"""Singular values below this share of the largest are rounding."""

Measures = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of the measures table by run id."""


def spectra(
    runs: Sequence[Run],
    measures: Measures,
    *,
    over_seeds: bool = False,
    out: Path | None = None,
) -> Plotted:
    """Singular values over the largest, falling, of the features of each model that was measured.

    out: their folder. Raises UserError where none was, and for runs on several data sets.
    """
    names, found = model_names(runs), dict[str, tuple[Run, list[float]]]()
    for run in runs:
        values = singular_values(clean_measures(measures.get(run.info["run_id"], ()), run))
        if values:
            found.setdefault(name_of(run, names), (run, values))
    if not found:
        how = about_runs("measure", [run.info for run in runs], out)
        raise UserError(f"no singular values in these runs: run {how}")
    return Plotted(
        "spectrum",
        [
            _line(name, place, run, values, over_seeds)
            for place, (name, (run, values)) in enumerate(found.items())
        ],
        "direction",
        "singular_value",
        about(
            "Singular values of the penultimate features, relative to the largest,",
            [run for run, _ in found.values()],
            attack=False,
        ),
    )


def clean_measures(rows: Sequence[Mapping[str, Any]], run: Run) -> dict[str, Mapping[str, Any]]:
    """Those rows that are about the run's clean samples, all classes, by the measure's name."""
    return {
        row["name"]: row
        for row in rows
        if row["points"] == "clean" and row["split"] == run.info["split"] and row["class"] is None
    }


def singular_values(rows: Mapping[str, Mapping[str, Any]]) -> list[float] | None:
    """Singular values over the largest, falling: in the detail of the rank counted from them."""
    detail = json.loads((rows.get("numerical_rank") or {}).get("detail") or "{}")
    return detail.get("singular_values") or None


def _line(name: str, place: int, run: Run, values: Sequence[float], over_seeds: bool) -> Line:
    y = np.array([value for value in values if value > FLOOR])
    nothing = np.full(len(y), math.nan)
    return Line(
        name,
        np.arange(1, len(y) + 1, dtype=np.float64),
        y,
        nothing,
        nothing,
        count=run.info["n_samples"],
        place=place,
        rate=False,
        training=training_of(run.info) if over_seeds else None,
    )
