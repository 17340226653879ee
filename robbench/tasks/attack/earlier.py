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


def mend(plan: AttackPlan, store: Store) -> None:
    """Drop what is left of shards of finished runs; of those that lack points make shards.

    Only for the owner of the runs. A process may have written runs, but died before it had dropped
    all their shards. Every budget's samples are kept after those of the smaller ones, and dropped
    in the same order: none is ahead otherwise.
    """
    if not all(store.has(run_id) for run_id in plan.run_ids):
        return
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    if _has_leftovers(partials):
        for partial in partials:
            partial.discard()
    elif _is_bare(plan, partials) and not finished(plan, store):
        for partial, run_id in reversed(list(zip(partials, plan.run_ids, strict=True))):
            _salvage(partial, store, read_run(store.run_path(run_id)))


def to_mend(plan: AttackPlan, store: Store) -> bool:
    """Whether `mend` may have something to do."""
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    return all(store.has(run_id) for run_id in plan.run_ids) and (
        _has_leftovers(partials) or _is_bare(plan, partials)
    )


def _has_leftovers(partials: Sequence[Partial]) -> bool:
    kept = [_by_index(partial.rows()).keys() for partial in partials]
    return not all(kept[0] >= found for found in kept)


def _is_bare(plan: AttackPlan, partials: Sequence[Partial]) -> bool:
    """Whether finished runs have to have points, and have no shards."""
    return plan.config.store_points and not any(partial.rows() for partial in partials)


def decided(plan: AttackPlan, store: Store) -> list[Rows]:
    """The rows that need not be made again, of each budget."""
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    kept = [of_split(partial.rows(), plan.subject.split) for partial in partials]
    return _complete(plan, kept, partials)


def decided_by_all(levels: Sequence[Rows]) -> set[int]:
    """The positions of the samples that are decided at every budget."""
    return set.intersection(*(set(rows) for rows in levels))


def left_to_others(plan: AttackPlan, store: Store) -> str:
    """How many samples of a plan other parts have still to decide, in words."""
    size = len(plan.subject.split)
    left = size - len(decided_by_all(decided(plan, store)))
    return f"{left} of {size} samples are left to other parts, the last of which writes the run"


def audited(plan: AttackPlan, store: Store) -> list[Rows]:
    """The rows of samples that the audit need not decide again, of each budget."""
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    kept = [of_split(partial.audited_rows(), plan.subject.split) for partial in partials]
    return _complete(plan, kept, partials)


def _complete(plan: AttackPlan, kept: Sequence[Rows], partials: Sequence[Partial]) -> list[Rows]:
    """The rows of samples whose points are kept too, where they have to be."""
    if not plan.config.store_points:
        return list(kept)
    return [
        with_points(found, partial.samples_with_points())
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
    rows = with_points(_by_index(whole), ids)
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


def with_points(rows: Rows, ids: set[int]) -> Rows:
    """A sample is decided together with its point."""
    return {i: row for i, row in rows.items() if row["sample_id"] in ids or not _moved(row)}


def _moved(row: Mapping[str, Any]) -> bool:
    """Whether the worst point is another than the clean input, which is not stored, or unknown."""
    return bool(row["dist_linf"] != 0)


def _by_index(rows: Sequence[dict[str, Any]]) -> Rows:
    return {row["sample_index"]: row for row in rows}
