"""The runs of a sweep in tables: those that belong together side by side, seeds as one row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robbench.analysis.comparison import Comparison, compare_runs
from robbench.core.errors import UserError
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.sweep.plan import SweepPlan
from robbench.tasks.sweep.run import Swept

_APART = ("data", "split", "subset")
_KINDS = {
    "attack": "attack",
    "audit": "attack",
    "audit_attack": "attack",
    "max_time": "limits",
    "max_queries": "limits",
    "limit": "samples",
}


class Compared(NamedTuple):
    """Tables of a sweep, and what could not be put in one."""

    tables: list[Comparison]
    notes: list[str]


def compare_sweep(swept: Swept, out: Path) -> Compared:
    """One comparison for the runs on each data set, in the order of the tasks.

    Where the seed of the training varies, a row is the mean over seeds. What else varies of the
    attack is marked.
    """
    groups: dict[tuple[str | None, ...], list[str]] = {}
    store = Store(out)
    for run_id in swept.run_ids:
        info = read_run(store.run_path(run_id), ("sample_id",)).info
        groups.setdefault(tuple(info[name] for name in _APART), []).append(run_id)
    tables, notes = list[Comparison](), list[str]()
    for run_ids in groups.values():
        try:
            tables.append(
                compare_runs(
                    run_ids, out, allow=_varied(swept.plan), over_seeds=over_seeds(swept.plan)
                )
            )
        except UserError as error:
            notes.append(f"not compared: {error}")
    return Compared(tables, notes)


def over_seeds(plan: SweepPlan) -> bool:
    """Whether the training seed varies, of all models."""
    seeds = [axis for axis in plan.grid.axes if "seed" in axis.of("train") and len(axis) > 1]
    return bool(seeds) and not plan.grid.models


def _varied(plan: SweepPlan) -> Sequence[str]:
    return sorted(
        {
            _KINDS[name]
            for axis in plan.grid.axes
            if len(axis) > 1
            for name in axis.of("attack")
            if name in _KINDS
        }
    )
