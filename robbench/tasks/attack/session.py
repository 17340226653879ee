"""A plan's model under attack: inspected once, then attacked on samples, at once or in parts."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import AttackEntry
from robbench.core.device import deterministic
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.limits import time_text
from robbench.core.tiles import RowEquality, Tiles, largest_tile
from robbench.data.base import Split
from robbench.engine.cascade import Cascade
from robbench.engine.corrupted import Answer, CorruptedPass
from robbench.engine.fast_model import FastModel, fast_model
from robbench.engine.flags import VARYING
from robbench.engine.inspection import SAMPLES, Inspection, inspect
from robbench.engine.lane import NO_LIMIT
from robbench.engine.progress import EntryProgress, Work
from robbench.engine.records import Update
from robbench.engine.shapes import equality_of
from robbench.tasks.attack.facts import FlagFacts, flag_facts
from robbench.tasks.attack.plan import AttackPlan
from robbench.tasks.attack.points import encode
from robbench.tasks.attack.rows import finished_row, run_facts, sample_row

CLEAN_GRACE = 30.0
"""Seconds by which the pass over the clean inputs may outlast the time limit."""

Row = dict[str, Any]


class Decided(NamedTuple):
    """Samples that were decided since the last one, each with the position of its eps."""

    rows: list[tuple[int, Row]]  # of the samples table
    points: list[tuple[int, Row]]  # of the points table; empty unless they are kept


class AttackSession:
    """Decides samples of a plan; the clock of a time limit starts here.

    replay: points to try first, by position in the whole split. weights: see `Cascade`, of all
    attacks, those of the audit last. clean: see `CorruptedPass`.
    """

    def __init__(
        self,
        plan: AttackPlan,
        replay: Mapping[int, Tensor],
        weights: Sequence[float] | None = None,
        clean: dict[int, Answer] | None = None,
    ) -> None:
        self.plan = plan
        self.replay = replay
        self.weights = weights
        self.clean = clean
        self.work = Work()  # of the current `decide`
        self.started = datetime.now(UTC).replace(tzinfo=None)
        self.began = time.perf_counter()
        self.progress = 0.0  # share of the work of the current `decide`
        self.entries: list[EntryProgress] = []  # likewise
        self.disagreements = 0
        self.inspection = Inspection([], 0, 0)
        self.equality = RowEquality(step=1, equal=True)  # of all models evaluated so far

    def inspect(self) -> None:
        """Look at the model on the first samples of the whole split, for flags."""
        split, model = self.plan.subject.split, self.plan.subject.model
        x = split.pixels(slice(0, SAMPLES))
        tiles = largest_tile(self.plan.device, x.shape[1:])
        attacks = [entry.attack for entry in self.plan.entries]
        with frozen(model), deterministic():
            self.equality = equality_of([model], split.pixels(slice(0, tiles.rows)), rows=len(x))
            self.inspection = inspect(
                model, x, split.labels[:SAMPLES], tiles._replace(step=self.equality.step), attacks
            )

    def decide(self, indices: Sequence[int], stop: Callable[[], bool]) -> Iterator[Decided]:
        """Run the cascade over samples, by position in the whole split, until `stop()`.

        Raises UserError when time is up long before every clean input has been evaluated.
        """
        yield from self._decide(self.plan, indices, stop)

    def audit(
        self, eps_index: int, indices: Sequence[int], stop: Callable[[], bool]
    ) -> Iterator[Decided]:
        """Run the audit's attacks alone over samples at one budget, likewise.

        The clock of a time limit goes on; a limit of queries counts these anew.
        """
        for found in self._decide(self.plan.of_audit(eps_index), indices, stop):
            yield Decided(
                [(eps_index, row) for _, row in found.rows],
                [(eps_index, row) for _, row in found.points],
            )

    def _decide(
        self, plan: AttackPlan, indices: Sequence[int], stop: Callable[[], bool]
    ) -> Iterator[Decided]:
        if not indices:
            return
        index = torch.tensor(indices, dtype=torch.int64, device=plan.device)
        split, model = plan.subject.split.take(index), plan.subject.model
        ids, labels = split.ids.tolist(), split.labels.tolist()
        equality, disagreements = self.equality, self.disagreements
        with frozen(model), deterministic():
            torch.manual_seed(plan.config.seed)  # for models that draw from it
            cascade: Cascade | CorruptedPass
            if plan.threats[0].corruption:
                cascade = self._corruption(plan, split)
                updates = cascade.run(stop)
            else:
                cascade = self._cascade(plan, split, indices)
                updates = cascade.run(stop=stop, out_of_time=self._out_of_time)
            for update in updates:
                if not update.entries and plan is self.plan:
                    self._require_clean_pass(len(split))
                self.equality = equality.both(cascade.equality)
                self.disagreements = disagreements + update.disagreements
                self.progress, self.entries = update.progress, update.entries
                self.work = update.work
                rows = [
                    (
                        v.eps_index,
                        sample_row(plan, v, indices[v.sample], ids[v.sample], labels[v.sample]),
                    )
                    for v in update.verdicts
                ]
                yield Decided(rows, _point_rows(plan, update, split, cascade.tiles))

    def _cascade(self, plan: AttackPlan, split: Split, indices: Sequence[int]) -> Cascade:
        config, own = plan.config, plan is self.plan
        return Cascade(
            plan.subject.model,
            split,
            plan.threats,
            plan.entries,
            seed=config.seed,
            width=plan.width,
            fast=self._search.model,
            recheck=self._search.recheck,
            dtype=self._search.dtype,
            replay={i: self.replay[n] for i, n in enumerate(indices) if own and n in self.replay},
            queries=NO_LIMIT if config.max_queries is None else config.max_queries,
            keep_points=config.store_points,
            weights=self._weights_of(plan.entries),
        )

    def _corruption(self, plan: AttackPlan, split: Split) -> CorruptedPass:
        # Of a model that draws or remembers, each run must ask in its own order.
        varies = any(flag.name in VARYING for flag in self.inspection.flags)
        return CorruptedPass(
            plan.subject.model,
            split,
            plan.threats[0],
            seed=plan.config.seed,
            width=plan.width,
            keep_points=plan.config.store_points,
            clean=None if varies else self.clean,
        )

    @functools.cached_property
    def _search(self) -> FastModel:
        """What the attacks see: one for all parts of a run, or each would measure its own."""
        config, split = self.plan.config, self.plan.subject.split
        return fast_model(
            self.plan.subject.model,
            split.pixels(slice(0, 8)),
            precision=config.precision,
            compiled=config.compile,
            tile=largest_tile(self.plan.device, split.images.shape[1:]).rows,
        )

    def _weights_of(self, entries: Sequence[AttackEntry]) -> list[float] | None:
        if self.weights is None:
            return None
        specs = [entry.spec for entry in self.plan.all_entries]
        weights = dict(zip(specs, self.weights, strict=True))
        return [weights[entry.spec] for entry in entries]

    @property
    def seconds(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self.began

    def _out_of_time(self) -> bool:
        limit = self.plan.config.max_time
        return limit is not None and self.seconds > limit

    def _require_clean_pass(self, samples: int) -> None:
        limit = self.plan.config.max_time
        if limit is not None and self.seconds > limit + CLEAN_GRACE:
            raise UserError(
                f"--max-time {time_text(limit)} is over, and {CLEAN_GRACE:.0f} s more, before the "
                f"model has seen the {samples} clean inputs once: give more time, or fewer samples "
                "with --limit"
            )

    def run_row(self, eps_index: int, rows: list[Row], *, wall: float, resumed: int = 0) -> Row:
        """The row of the runs table for one eps, from its rows of the samples table.

        wall: seconds it took; resumed: how many samples an earlier process has decided, in which
        case neither the time nor the disagreements are known.
        """
        return finished_row(
            self.kept(eps_index)["row"],
            rows,
            disagreements=None if resumed else self.disagreements,
            flags=self._facts.flags(rows),
            wall=math.nan if resumed else wall,
            resumed=resumed,
        )

    def masking(self, rows: list[Row]) -> list[str]:
        """What speaks for masked gradients, see `FlagFacts`."""
        return self._facts.masking(rows)

    def kept(self, eps_index: int) -> dict[str, Any]:
        """What the run of one eps needs beside its rows, in plain data, see `merge.py`."""
        row = run_facts(
            self.plan,
            eps_index,
            started=self.started,
            inspection=self.inspection[1:],
            equality=self.equality,
        )
        return {"row": row, "flags": dataclasses.asdict(self._facts)}

    @property
    def _facts(self) -> FlagFacts:
        return flag_facts(self.plan, self.inspection.flags, self.equality)


def _point_rows(
    plan: AttackPlan, update: Update, split: Split, tiles: Tiles
) -> list[tuple[int, Row]]:
    rows: list[tuple[int, Row]] = []
    pairs = list(zip(update.verdicts, update.points, strict=False))
    for n, threat in enumerate(plan.threats):
        kept = [(v, x) for v, x in pairs if v.eps_index == n and x is not None]
        verdicts, points = [v for v, _ in kept], [x for _, x in kept]
        found = encode(points, verdicts, split, threat, plan.subject.model, tiles)
        rows += [(n, row) for row in found]
    return rows
