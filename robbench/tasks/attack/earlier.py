"""Verdicts of earlier processes on a plan's samples, from stopped or finished runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.store.partial import Partial
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.attack.plan import AttackPlan

Rows = dict[int, dict[str, Any]]  # by sample_index
SALVAGED = 256  # points in a shard


def finished(plan: AttackPlan, store: Store) -> list[Run] | None:
    """The plan's runs, when nothing is left to do.

    None where one is missing, lacks points, or is being made again.
    """
    if not all(store.has(run_id) for run_id in plan.run_ids) or any(
        store.partial(run_id).rows() for run_id in plan.run_ids
    ):
        return None  # shards: a --force run was stopped
    runs = [read_run(store.run_path(run_id)) for run_id in plan.run_ids]
    if plan.config.store_points and any(
        _lacks_points(run.samples.to_pylist(), _point_ids(store, run)) for run in runs
    ):
        return None
    return runs


def drop_leftovers(plan: AttackPlan, store: Store) -> None:
    """Drop the shards of runs that a process has written, but died before it had dropped them all.

    Only for their owner.

    Every budget's samples are kept after those of the smaller ones, and dropped in the same order:
    none is ahead otherwise.
    """
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    kept = [_by_index(partial.rows()).keys() for partial in partials]
    if all(store.has(run_id) for run_id in plan.run_ids) and not all(
        kept[0] >= found for found in kept
    ):
        for partial in partials:
            partial.discard()


def decided(plan: AttackPlan, store: Store) -> list[Rows]:
    """The rows that need not be made again, of each budget.

    Only for the owner of the runs: finished ones become shards.
    """
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    kept = [of_split(partial.rows(), plan.subject.split) for partial in partials]
    if not plan.config.store_points:
        return kept
    if not any(kept) and all(store.has(run_id) for run_id in plan.run_ids):
        for partial, run_id in reversed(list(zip(partials, plan.run_ids, strict=True))):
            _salvage(partial, store, read_run(store.run_path(run_id)))
        kept = [of_split(partial.rows(), plan.subject.split) for partial in partials]
    return [
        _with_points(found, partial.samples_with_points())
        for found, partial in zip(kept, partials, strict=True)
    ]


def audited(plan: AttackPlan, store: Store) -> list[Rows]:
    """The rows of samples that the audit need not decide again, of each budget."""
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    kept = [of_split(partial.audited_rows(), plan.subject.split) for partial in partials]
    if not plan.config.store_points:
        return kept
    return [
        _with_points(found, partial.samples_with_points())
        for found, partial in zip(kept, partials, strict=True)
    ]


def of_split(rows: Sequence[dict[str, Any]], split: Split) -> Rows:
    """Those rows that are of the split's samples, each at its place and under its label.

    Others are to be redone.
    """
    facts = list(zip(split.ids.tolist(), split.labels.tolist(), strict=True))
    return {
        i: row
        for row in rows
        if (i := row["sample_index"]) < len(facts) and facts[i] == (row["sample_id"], row["label"])
    }


def _salvage(partial: Partial, store: Store, run: Run) -> None:
    """What a finished run still has, as shards: it goes on from there.

    Of audited samples it does not have what they were before the audit.
    """
    ids: set[int] = set()
    for batch in _batches(store, run):
        partial.append_points(batch)
        ids |= {row["sample_id"] for row in batch}
    whole = [row for row in run.samples.to_pylist() if not row["audited"]]
    rows = _with_points(_by_index(whole), ids)
    partial.append([{**row, "audited": None} for row in rows.values()])


def _batches(store: Store, run: Run) -> Iterator[list[dict[str, Any]]]:
    try:
        points = read_points(store.run_path(run.info["run_id"]))
        while batch := list(itertools.islice(points, SALVAGED)):
            yield [row for row in batch if row["run_id"] == run.info["run_id"]]
    except UserError:  # missing or damaged
        return


def _point_ids(store: Store, run: Run) -> set[int]:
    return {row["sample_id"] for batch in _batches(store, run) for row in batch}


def _lacks_points(rows: Sequence[Mapping[str, Any]], ids: set[int]) -> bool:
    return any(_moved(row) and row["sample_id"] not in ids for row in rows)


def _with_points(rows: Rows, ids: set[int]) -> Rows:
    """A sample is decided together with its point."""
    return {i: row for i, row in rows.items() if row["sample_id"] in ids or not _moved(row)}


def _moved(row: Mapping[str, Any]) -> bool:
    """Whether the worst point is another than the clean input, which is not stored, or unknown."""
    return bool(row["dist_linf"] != 0)


def _by_index(rows: Sequence[dict[str, Any]]) -> Rows:
    return {row["sample_index"]: row for row in rows}
