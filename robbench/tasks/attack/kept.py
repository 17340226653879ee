"""Finished runs of a plan, which stay as they are, and where the samples of its budgets are kept.

A run is named by its budget and the smaller ones of its curve, so a curve that grows finds its
smaller budgets there. Their samples, as the larger ones take them, lie with the shards of the first
run that is not finished: none of the finished ones is being made again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from robbench.core.errors import UserError
from robbench.store.partial import Partial
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store

_POINTS = 256  # in a batch


def is_done(store: Store, run_id: str, *, points: bool) -> bool:
    """Whether a run is complete, with its points where it is to have some.

    Not where it has shards: a --force run was stopped.
    """
    if not store.has(run_id) or store.partial(run_id).rows():
        return False
    return not points or not _lacks_points(store, read_run(store.run_path(run_id)))


class Places(NamedTuple):
    """Where the samples of each budget are kept until its run is written.

    kept: the runs that are finished already, of a curve with others to be made; none of them is to
    be written.
    """

    partials: list[Partial]
    kept: list[str]


def kept(store: Store, run_ids: Sequence[str], *, points: bool) -> list[str]:
    """The finished runs of a curve that has others to be made; none where all are finished."""
    done = [run_id for run_id in run_ids if is_done(store, run_id, points=points)]
    return done if len(done) < len(run_ids) else []


def places(
    store: Store,
    run_ids: Sequence[str],
    *,
    points: bool,
    shared: bool = False,
    again: bool = False,
) -> Places:
    """The places of a curve.

    shared: see `Store.partial`. again: finished runs are being replaced.
    """
    done = [] if again else kept(store, run_ids, points=points)
    own = {name: store.partial(name, shared=shared) for name in run_ids if name not in done}
    first = next(iter(own.values()))
    return Places([own.get(run_id) or first.beside(run_id) for run_id in run_ids], done)


def point_batches(store: Store, run: Run) -> Iterator[list[dict[str, Any]]]:
    """The rows of a run's points, as far as they can be read."""
    try:
        points = read_points(store.run_path(run.info["run_id"]))
        while batch := list(itertools.islice(points, _POINTS)):
            yield [row for row in batch if row["run_id"] == run.info["run_id"]]
    except UserError:  # missing or damaged
        return


def is_moved(row: Mapping[str, Any]) -> bool:
    """Whether the worst point is another than the clean input, which is not stored, or unknown."""
    return bool(row["dist_linf"] != 0)


def _lacks_points(store: Store, run: Run) -> bool:
    ids = {row["sample_id"] for batch in point_batches(store, run) for row in batch}
    rows = run.samples.select(["sample_id", "dist_linf"]).to_pylist()
    return any(is_moved(row) and row["sample_id"] not in ids for row in rows)
