"""Attack a model: skip what is already known, run the cascade, write one row per sample and one per run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from robbench.engine.progress import EntryProgress
from robbench.store.run import Run, read_run
from robbench.store.store import Store
from robbench.tasks.attack.earlier import decided, drop_leftovers, finished
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.points import points_to_replay
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.signals import StopFlag


class Progress(NamedTuple):
    """Where a plan stands."""

    samples: int  # decided
    total: int
    broken: int  # of those, adversarial at the largest budget
    share: float  # of all work
    entries: list[EntryProgress]


class Outcome(NamedTuple):
    """The runs of a plan, none when a signal came first. `fresh` is False when they were already in the store."""

    runs: list[Run]
    fresh: bool


def attack(plan: AttackPlan, *, store: Store, force: bool, resumed: Callable[[int], None], watch: Callable[[Progress], None],
           stop: StopFlag, say: Callable[[str], None] = lambda text: None) -> Outcome:  # fmt: skip
    """Run a plan, or go on with it, or find it done. A stopped run keeps its finished samples for the next time.

    `resumed` hears how many samples an earlier process has decided, if any; `say` for which other
    process is waited.
    """
    if not force and (runs := finished(plan, store)):
        return Outcome(runs, fresh=False)
    stored = points_to_replay(
        plan.replay, plan.subject.split, plan.threats[-1]
    )  # bad ones are told before anything is written
    store.check_writable()
    with store.locked(plan.run_ids, say=say, asked_to_stop=stop.check):
        drop_leftovers(plan, store)
        if not force and (runs := finished(plan, store)):  # by whom was waited for
            return Outcome(runs, fresh=False)
        return _attack(plan, store, stored, force, resumed, watch, stop)


def _attack(plan: AttackPlan, store: Store, stored: dict[int, Tensor], force: bool, resumed: Callable[[int], None],
            watch: Callable[[Progress], None], stop: StopFlag) -> Outcome:  # fmt: skip
    partials = [store.partial(run_id) for run_id in plan.run_ids]
    if force:
        for partial in partials:
            partial.discard()
    levels = [{}] * len(partials) if force else decided(plan, store)
    known = set.intersection(*(set(rows) for rows in levels))
    for partial in partials:
        partial.keep_answers(plan.subject.answers)
    if known:
        resumed(len(known))
    rows = [[row for i, row in found.items() if i in known] for found in levels]
    size = len(plan.subject.split)
    todo = [i for i in range(size) if i not in known]
    broken = sum(row["adversarial"] for row in rows[-1])
    session, shards = AttackSession(plan, stored), ShardWriter(partials)
    with shards.flushing_on_stop(stop):
        session.inspect()
        for fresh in session.decide(todo, lambda: bool(stop)):
            for eps_index, row in fresh.rows:
                rows[eps_index].append(row)
                broken += row["adversarial"] and eps_index == len(rows) - 1
            shards.add(fresh.rows, fresh.points, now=bool(stop))
            share = (len(known) + session.progress * len(todo)) / size
            watch(Progress(len(rows[-1]), size, broken, share, session.entries))
    if len(rows[-1]) < size:
        return Outcome([], fresh=True)
    seconds = session.seconds
    if plan.config.store_points:
        shards.flush()  # what is on disk need not be in memory
    paths = []
    for eps_index, (found, partial) in enumerate(zip(rows, partials, strict=True)):
        found.sort(key=lambda row: row["sample_index"])
        points = partial.points() if plan.config.store_points else None
        row = session.run_row(eps_index, found, wall=seconds, resumed=len(known))
        paths.append(store.write(row, found, points, keep_shards=True))
    # Once all is written: a budget whose shards are gone would be attacked again.
    for partial in partials:
        partial.discard()
    return Outcome([read_run(path) for path in paths], fresh=True)
