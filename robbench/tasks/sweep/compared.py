"""The runs of a sweep in tables: those that belong together side by side, seeds as one row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from robbench.analysis.comparison import Comparison, compare_runs
from robbench.core.errors import UserError
from robbench.store.store import Store
from robbench.tasks.sweep.plan import SweepPlan
from robbench.tasks.sweep.run import Swept

_APART = ("data", "split", "subset")
MOST = 1000
"""Runs that are compared of themselves."""
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
    run_ids = dataclasses.replace(swept, items=swept.plan.items).run_ids
    if len(run_ids) > MOST:
        return Compared(
            [],
            [
                f"{len(run_ids):,} runs are more than a table shows: compare some of them with "
                f"--where tag={swept.plan.tag} --where COLUMN=VALUE"
            ],
        )
    groups: dict[tuple[str | None, ...], list[str]] = {}
    about = {row["run_id"]: row for row in Store(out).rows(("run_id", *_APART))}
    for run_id in run_ids:
        row = about.get(run_id, {})
        groups.setdefault(tuple(row.get(name) for name in _APART), []).append(run_id)
    tables, notes = list[Comparison](), list[str]()
    for group in groups.values():
        try:
            tables.append(
                compare_runs(
                    group, out, allow=_varied(swept.plan), over_seeds=over_seeds(swept.plan)
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
