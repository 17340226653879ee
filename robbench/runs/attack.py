"""Attack a model: skip what is already known, run the cascade, write one row per sample and one per run."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.core.config import Budget
from robbench.core.device import deterministic
from robbench.core.errors import Stopped, UserError
from robbench.core.tiles import RowEquality, Tiles, largest_tile
from robbench.engine.cascade import Cascade, Tick
from robbench.engine.flags import SAMPLES, Flag, Inspection, adaptations, afterwards, at_chance, inspect, of_rows
from robbench.engine.guard import frozen
from robbench.engine.lane import NO_LIMIT
from robbench.engine.records import Verdict
from robbench.engine.search import search_model
from robbench.engine.shapes import equality_of
from robbench.models.external import External
from robbench.results.store import Run, Store, read_run
from robbench.runs.earlier import decided, drop_leftovers, finished
from robbench.runs.plan import Plan
from robbench.runs.points import encode, points_to_replay
from robbench.runs.rows import run_row, sample_row
from robbench.runs.signals import StopFlag

CLEAN_GRACE = 30.0  # seconds by which the pass over the clean inputs may outlast a budget: without it nothing is known
FLUSH_SECONDS = 2.0  # a killed process loses at most what was finished since
FLUSH_BYTES = 8 << 20  # of points in memory


class EntryProgress(NamedTuple):
    """How many samples (times budgets) have reached an entry of the cascade, left it, and fallen to it."""

    spec: str
    reached: int
    left: int
    found: int


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


def attack(plan: Plan, *, store: Store, force: bool, resumed: Callable[[int], None], watch: Callable[[Progress], None],
           stop: StopFlag, say: Callable[[str], None] = lambda text: None) -> Outcome:  # fmt: skip
    """Run a plan, or go on with it, or find it done. A stopped run keeps its finished samples for the next time.

    `resumed` hears how many samples an earlier process has decided, if any; `say` for which other process is waited.
    """
    if not force and (runs := finished(plan, store)):
        return Outcome(runs, fresh=False)
    stored = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])  # bad ones are told before anything is written
    store.check_writable()
    with store.locked(plan.run_ids, say=say, asked_to_stop=stop.check):
        drop_leftovers(plan, store)
        if not force and (runs := finished(plan, store)):  # by whom was waited for
            return Outcome(runs, fresh=False)
        return _attack(plan, store, stored, force, resumed, watch, stop)


def _attack(plan: Plan, store: Store, stored: dict[int, Tensor], force: bool, resumed: Callable[[int], None],
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
    began, started = time.perf_counter(), datetime.now(UTC).replace(tzinfo=None)
    keep = Keeper(partials)
    broken = sum(row["adversarial"] for row in rows[-1])
    work = Work(plan, began, stored=stored)
    with keep.whatever_comes(stop):
        look_at(plan, work)
        for fresh in verdict_rows(plan, todo, stop, work):
            for level, row in fresh:
                rows[level].append(row)
                broken += row["adversarial"] and level == len(rows) - 1
            keep.add(fresh, work.points, now=bool(stop))
            share = (len(known) + work.share * len(todo)) / size
            watch(Progress(len(rows[-1]), size, broken, share, work.progress))
    if len(rows[-1]) < size:
        return Outcome([], fresh=True)
    seconds = float("nan") if known else time.perf_counter() - began  # an earlier process' time is not known
    if plan.config.store_points:
        keep.flush()  # what is on disk need not be in memory
    paths = []
    for level, (found, partial) in enumerate(zip(rows, partials, strict=True)):
        found.sort(key=lambda row: row["sample_index"])
        points = partial.points() if plan.config.store_points else None
        flags = all_flags(work, found)
        row = run_row(plan, level, found, disagreements=None if known else work.disagreements, flags=flags, started=started,
                      wall=seconds, resumed=len(known), inspection=work.inspection[1:], equality=work.equality)  # fmt: skip
        paths.append(store.write(row, found, points, keep_shards=True))
    for partial in partials:  # once all is written: a budget whose shards are gone would be attacked again
        partial.discard()
    return Outcome([read_run(path) for path in paths], fresh=True)


class Keeper:
    """Puts finished samples on disk every few seconds: the points first, so that a row's point is there with it."""

    def __init__(self, partials: Sequence[Any]) -> None:
        self.partials, self.flushed, self.held = partials, time.perf_counter(), 0
        self.rows: list[list[dict[str, Any]]] = [[] for _ in partials]
        self.points: list[list[dict[str, Any]]] = [[] for _ in partials]

    def add(self, rows: Sequence[tuple[int, dict[str, Any]]], points: Sequence[tuple[int, dict[str, Any]]], now: bool) -> None:
        for kept, fresh in ((self.rows, rows), (self.points, points)):
            for level, row in fresh:
                kept[level].append(row)
        self.held += sum(len(row["delta"]) for _, row in points)
        if any(self.rows) and (now or time.perf_counter() - self.flushed > FLUSH_SECONDS or self.held > FLUSH_BYTES):
            self.flush()

    def flush(self) -> None:
        """Put on disk what is not there yet."""
        for partial, found, places in zip(self.partials, self.rows, self.points, strict=True):
            partial.append_points(places)
            partial.append(found)
            found.clear()
            places.clear()
        self.flushed, self.held = time.perf_counter(), 0

    @contextlib.contextmanager
    def whatever_comes(self, stop: StopFlag) -> Iterator[None]:
        """Where a signal ends the work within a step, what was finished before is kept all the same."""
        try:
            yield
        except Stopped:
            with stop.unhurried():
                self.flush()
            raise


@dataclasses.dataclass
class Work:
    """What a cascade says of itself while it runs and when it is done."""

    plan: Plan
    began: float
    share: float = 0.0
    progress: list[EntryProgress] = dataclasses.field(default_factory=list)
    points: list[tuple[int, dict[str, Any]]] = dataclasses.field(default_factory=list)
    disagreements: int = 0
    inspection: Inspection = dataclasses.field(default_factory=lambda: Inspection([], 0, 0))
    flags: list[Flag] = dataclasses.field(default_factory=list)  # noticed before the attack
    equality: RowEquality = dataclasses.field(
        default_factory=lambda: RowEquality(step=1, equal=True)
    )  # what was measured of all models asked so far
    stored: dict[int, Tensor] | None = None  # points to replay, by position in the whole split

    @property
    def budget(self) -> Budget:
        return self.plan.config.budget or Budget()

    def out_of_time(self) -> bool:
        return time.perf_counter() - self.began > self.budget.seconds

    def require_clean_pass(self, samples: int) -> None:
        """Raise UserError when time is up for good before every clean input was looked at: no row could be written."""
        if time.perf_counter() - self.began > self.budget.seconds + CLEAN_GRACE:
            raise UserError(
                f"--budget {self.budget} is over, and {CLEAN_GRACE:.0f} s more, before the model has seen the {samples} clean "
                "inputs once: give more time, or fewer samples with --limit"
            )


def look_at(plan: Plan, work: Work) -> None:
    """Look at the model before the attack, on the first samples of the whole split."""
    split, model = plan.subject.split, plan.subject.model
    x, tiles = split.pixels(slice(0, SAMPLES)), largest_tile(plan.device)
    attacks = [entry.attack for entry in plan.entries]
    with frozen(model), deterministic():
        work.equality = equality_of([model], split.pixels(slice(0, tiles.rows)))
        work.inspection = inspect(model, x, split.labels[:SAMPLES], tiles._replace(step=work.equality.step), attacks)
    work.flags = [*plan.subject.remarks, *adaptations(len(split.classes), plan.entries), *work.inspection.flags]


def verdict_rows(plan: Plan, todo: list[int], stop: object, work: Work) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The cascade over the samples to do, as rows of the samples table with the level of their budget, until `stop` is true."""
    if not todo:
        return
    split = plan.subject.split.take(torch.tensor(todo, dtype=torch.int64, device=plan.device))
    if work.stored is None:
        work.stored = points_to_replay(plan.replay, plan.subject.split, plan.threats[-1])
    model, queries = plan.subject.model, work.budget.queries
    with frozen(model), deterministic():
        torch.manual_seed(plan.config.seed)  # for models that draw from it
        search = search_model(
            model, split.pixels(slice(0, 8)), precision=plan.config.precision, compiled=plan.config.compile,
            tile=largest_tile(plan.device).rows,
        )  # fmt: skip
        cascade = Cascade(
            model, split, plan.threats, plan.entries, seed=plan.config.seed, width=plan.width,
            search=search.model, recheck=search.recheck,
            replay={i: work.stored[n] for i, n in enumerate(todo) if n in work.stored},
            queries=int(queries) if math.isfinite(queries) else NO_LIMIT, keep_points=plan.config.store_points,
        )  # fmt: skip
        work.equality = work.equality.both(cascade.equality)
        ids, labels = split.ids.tolist(), split.labels.tolist()
        for _ in cascade.open():
            if stop:
                return
            work.require_clean_pass(len(split))
            yield []

        def over() -> bool:
            return bool(stop) or work.out_of_time()

        def last() -> Iterator[Tick]:
            if work.out_of_time() and not stop:
                yield cascade.abandon()

        for tick in itertools.chain(cascade.run(stop=over), last()):
            work.share, work.disagreements = tick.progress, cascade.disagreements
            work.progress = [
                EntryProgress(entry.spec, tally.reached, tally.left, tally.found)
                for entry, tally in zip(plan.entries, cascade.tallies, strict=True)
            ]
            work.points = _point_rows(plan, tick, split, cascade.tiles)
            yield [
                (v.level, sample_row(plan, v, todo[v.sample], ids[v.sample], labels[v.sample], cascade.oddities(v.sample)))
                for v in tick.verdicts
            ]


def all_flags(work: Work, rows: list[dict[str, Any]]) -> list[Flag]:
    """What was noticed before, and what the finished rows say."""
    after = flags_after(work.plan, rows)
    if any(flag.name == "no-gradient" for flag in work.flags):  # it says why they are zero, and what to do
        after = [flag for flag in after if flag.name != "zero-gradient"]
    return work.flags + of_rows(work.equality, work.flags) + after


def flags_after(plan: Plan, rows: list[dict[str, Any]]) -> list[Flag]:
    """What the finished rows say."""
    counts = [(row["n_nonfinite"], row["n_zero_gradient"]) for row in rows]
    specs = [entry.spec for entry in plan.entries]
    # Without a budget the nearest point wins, whoever found it.
    endless = math.isinf(plan.threats[-1].eps)
    blind = {entry.spec for entry in plan.entries if entry.attack.sees != "gradients" and not endless}
    nonfinite, flat = zip(*counts, strict=True)
    chance = at_chance([row["clean_correct"] for row in rows], [row["label"] for row in rows])
    broken_by, model = [row["broken_by"] for row in rows], plan.subject.model
    rejects, attacks = isinstance(model, External) and model.interface.reject, [entry.attack for entry in plan.entries]
    return chance + afterwards(specs, blind, broken_by, nonfinite=nonfinite, flat=flat, rejects=rejects, attacks=attacks)


def _point_rows(plan: Plan, tick: Tick, split: Any, tiles: Tiles) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    for level, threat in enumerate(plan.threats):
        kept: list[tuple[Verdict, Tensor]] = [
            (v, x) for v, x in zip(tick.verdicts, tick.points, strict=False) if v.level == level and x is not None
        ]
        found = encode([x for _, x in kept], [v.sample for v, _ in kept], [v.adversarial for v, _ in kept], split, threat,
                       plan.subject.model, tiles)  # fmt: skip
        rows += [(level, row) for row in found]
    return rows
