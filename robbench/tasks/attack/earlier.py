"""Verdicts of earlier processes on a plan's samples, from stopped or finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robbench.data.base import Split
from robbench.store.partial import Partial
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.attack.kept import Places, is_done, is_moved, places, point_batches
from robbench.tasks.attack.plan import AttackPlan

Rows = dict[int, dict[str, Any]]  # by sample_index


def finished(plan: AttackPlan, store: Store) -> list[Run] | None:
    """The plan's runs, when nothing is left to do.

    None where one is missing, lacks points, or is being made again.
    """
    points = plan.config.store_points
    if not all(is_done(store, run_id, points=points) for run_id in plan.run_ids):
        return None
    return [read_run(store.run_path(run_id)) for run_id in plan.run_ids]


def places_of(
    plan: AttackPlan, store: Store, *, shared: bool = False, again: bool = False
) -> Places:
    """Where the samples of a plan are kept, see `places`."""
    points = plan.config.store_points
    return places(store, plan.run_ids, points=points, shared=shared, again=again)


def mend(plan: AttackPlan, store: Store) -> None:
    """Drop what is left of shards of finished runs; of those that lack points make shards.

    Only for the owner of the runs. A process may have written runs, but died before it had dropped
    all their shards. Every budget's samples are kept after those of the smaller ones, and dropped
    in the same order: none is ahead otherwise.
    """
    if not all(store.has(run_id) for run_id in plan.run_ids):
        return
    own = places_of(plan, store, again=True).partials
    if _has_leftovers(own):
        for partial in own:
            partial.discard()
    elif _is_bare(plan, own) and not finished(plan, store):
        runs = [read_run(store.run_path(run_id)) for run_id in plan.run_ids]
        for n, partial in reversed(list(enumerate(own))):
            _salvage(plan, partial, store, runs[: n + 1])


def take_over(plan: AttackPlan, store: Store, found: Places) -> None:
    """Keep in their places what finished runs of the plan say; for one process at a time.

    What breaks a sample at one budget counts at the larger ones, so that these samples are decided.
    """
    runs: list[Run] = []
    last: Partial | None = None
    for n, (run_id, partial) in enumerate(zip(plan.run_ids, found.partials, strict=True)):
        if run_id in found.kept:
            last = partial
            runs.append(read_run(store.run_path(run_id)))
            # What an audit at a budget between has found, nothing says then.
            if not partial.rows() and (plan.audit is None or len(runs) == n + 1):
                _salvage(plan, partial, store, runs)
        elif last is not None and _decides_larger(plan):
            _hand_on(last, partial, run_id)


def _decides_larger(plan: AttackPlan) -> bool:
    """Whether a sample that is broken has the same row at every larger budget.

    Where the attacks see another model, the last look may find that at the end only.
    """
    return plan.config.precision == "fp32" and not plan.config.compile


def _hand_on(smaller: Partial, larger: Partial, run_id: str) -> None:
    """The samples that are broken at a smaller budget, to those of a larger one."""
    known = {row["sample_id"] for row in larger.rows()}
    broken = [row for row in smaller.rows() if row["adversarial"] and row["sample_id"] not in known]
    if not broken:
        return
    ids = {row["sample_id"] for row in broken}
    for table in smaller.points():
        larger.append_points(
            [{**row, "run_id": run_id} for row in table.to_pylist() if row["sample_id"] in ids]
        )
    larger.append([{**row, "run_id": run_id} for row in broken])


def to_mend(plan: AttackPlan, store: Store) -> bool:
    """Whether `mend` may have something to do."""
    own = places_of(plan, store, again=True).partials
    return all(store.has(run_id) for run_id in plan.run_ids) and (
        _has_leftovers(own) or _is_bare(plan, own)
    )


def _has_leftovers(own: Sequence[Partial]) -> bool:
    found = [_by_index(partial.rows()).keys() for partial in own]
    return not all(found[0] >= each for each in found)


def _is_bare(plan: AttackPlan, own: Sequence[Partial]) -> bool:
    """Whether finished runs have to have points, and have no shards."""
    return plan.config.store_points and not any(partial.rows() for partial in own)


def decided(plan: AttackPlan, partials: Sequence[Partial]) -> list[Rows]:
    """The rows that need not be made again, of each budget."""
    found = [of_split(partial.rows(), plan.subject.split) for partial in partials]
    return _complete(plan, found, partials)


def decided_by_all(levels: Sequence[Rows]) -> set[int]:
    """The positions of the samples that are decided at every budget."""
    return set.intersection(*(set(rows) for rows in levels))


def left_to_others(plan: AttackPlan, store: Store) -> str:
    """How many samples of a plan other parts have still to decide, in words."""
    size = len(plan.subject.split)
    partials = places_of(plan, store).partials
    left = size - len(decided_by_all(decided(plan, partials)))
    return f"{left} of {size} samples are left to other parts, the last of which writes the run"


def audited(plan: AttackPlan, partials: Sequence[Partial]) -> list[Rows]:
    """The rows of samples that the audit need not decide again, of each budget."""
    found = [of_split(partial.audited_rows(), plan.subject.split) for partial in partials]
    return _complete(plan, found, partials)


def _complete(plan: AttackPlan, found: Sequence[Rows], partials: Sequence[Partial]) -> list[Rows]:
    """The rows of samples whose points are kept too, where they have to be."""
    if not plan.config.store_points:
        return list(found)
    return [
        with_points(rows, partial.samples_with_points())
        for rows, partial in zip(found, partials, strict=True)
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


def _salvage(plan: AttackPlan, partial: Partial, store: Store, runs: Sequence[Run]) -> None:
    """What the last of some finished runs, by budget, has, as shards: it goes on from there.

    Of samples audited at its budget or a smaller one it does not have what they were before that.
    """
    rows = _by_index(runs[-1].samples.to_pylist())
    if plan.audit is not None:
        known = {i for run in runs for i, row in _by_index(_audits(run)).items() if row["audited"]}
        rows = {i: {**row, "audited": None} for i, row in rows.items() if i not in known}
    if plan.config.store_points:
        ids: set[int] = set()
        for batch in point_batches(store, runs[-1]):
            partial.append_points(batch)
            ids |= {row["sample_id"] for row in batch}
        rows = with_points(rows, ids)
    partial.append(list(rows.values()))


def _audits(run: Run) -> list[dict[str, Any]]:
    return list(run.samples.select(["sample_index", "audited"]).to_pylist())


def with_points(rows: Rows, ids: set[int]) -> Rows:
    """A sample is decided together with its point."""
    return {i: row for i, row in rows.items() if row["sample_id"] in ids or not is_moved(row)}


def _by_index(rows: Sequence[dict[str, Any]]) -> Rows:
    return {row["sample_index"]: row for row in rows}
