"""A list of attacks as one worst case: a sample leaves at the first entry that beats it.

Every row attack has a lane; samples move from lane to lane on their own, so survivors of the first
attack are at the second while others are still at the first. With several budgets of one norm a
sample goes through all attacks at the smallest, then, if it stands, at the next: what broke it at
one budget counts at every larger one. Without a budget (eps = inf) every sample goes through every
entry, and the smallest perturbation is kept. A backend (another package's attack) waits for all
that reach it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.base import AnyRowAttack, Attack, Backend
from robbench.core.tiles import Model, RowEquality, Tiles
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.lane import NO_LIMIT, Done, Job, Lane
from robbench.engine.pool import Pool, clean_tiles, stream_of
from robbench.engine.records import CLEAN, REPLAY, JudgedRow, Record, Verdict
from robbench.engine.replay import replay_points
from robbench.engine.shapes import shapes_of
from robbench.engine.verdicts import final_verdicts
from robbench.engine.verify import judge_logits, verify
from robbench.objectives import answered
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem

STRETCHES = (1.0, 1.001, 1.01, 1.1)  # how much farther out a refused point is tried again
FLUSH_SECONDS = 1.0  # a decided sample is told of no later than this


class Entry(NamedTuple):
    """One attack of the cascade, under its canonical spec."""

    spec: str
    attack: AnyRowAttack | Backend


class Leg(NamedTuple):
    """One run of one attack on a sample: at which budget, which entry, which of its restarts or targets."""

    eps_index: int
    entry: int
    variant: int


@dataclasses.dataclass(frozen=True)
class EntryProgress:
    """How many samples (times budgets) have reached an entry, left it, and fallen to it."""

    spec: str
    reached: int = 0
    left: int = 0
    found: int = 0


class Update(NamedTuple):
    """What happened since the last one."""

    verdicts: list[Verdict]  # of samples decided since, one per budget
    points: list[
        Tensor | None
    ]  # worst point of each verdict, None = the clean input; empty unless kept
    progress: float  # share of all work that is done, at most
    entries: list[EntryProgress]  # empty until every clean input has been evaluated
    disagreements: int  # so far: see `Cascade.run`


class Cascade:
    """Runs entries over a split. `model` maps [0,1] inputs to logits; freeze it first (`core/freeze.py`).

    threats: one or several budgets of one norm, ascending. fast: what the attacks see instead of
    the model, faster and a little less exact; the model itself confirms every success, and with
    `recheck` also looks at the worst points of rows that found none. replay: points [*] of samples,
    tried first. queries: at most so many forwards per sample, but for re-checks.
    """

    equality: RowEquality  # what was measured of the models; known from the first update on
    tiles: Tiles  # the shapes in which they are evaluated; likewise

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        threats: ThreatModel | Sequence[ThreatModel],
        entries: Sequence[Entry],
        *,
        seed: int,
        width: int,
        fast: Model | None = None,
        recheck: bool = False,
        replay: Mapping[int, Tensor] | None = None,
        queries: int = NO_LIMIT,
        keep_points: bool = False,
    ) -> None:
        self.model = model
        self.split = split
        self.threats = [threats] if isinstance(threats, ThreatModel) else list(threats)
        self.entries = entries
        self.seed = seed
        self.width = width
        self.smallest = math.isinf(self.threats[-1].eps)
        # The nearest points lie where the fast model and the model disagree: without a budget the
        # model itself is searched.
        self.fast = model if fast is None or self.smallest else fast
        self.recheck = recheck and not self.smallest
        self.replay = replay or {}
        self.queries = queries
        self.keep_points = keep_points
        self.device = split.labels.device

        self.disagreements = 0
        self.next: dict[int, int] = {}  # undecided samples, and the leg each comes to next
        self.lanes: dict[int, Lane] = {}
        self.finished: list[int] = []  # decided, not yet in an update
        self.flushed = time.monotonic()
        self.done, self.work = 0, 0  # samples in updates; steps taken for the others

    def run(
        self,
        stop: Callable[[], bool] = lambda: False,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> Iterator[Update]:
        """Decide every sample; each is in an update as soon as it is certain.

        The clean inputs come first, then the points to replay, then the attacks; an update follows
        every tile and every few steps. After each, `stop()` ends the run: samples that are not
        decided get no verdict. Once the attacks have begun, `out_of_time()` ends it too: those
        samples are given up as unfinished.

        Disagreements are claims of the fast model that the model refused, and successes that only
        the model saw.
        """
        for _ in self._look_at_clean_inputs():
            if stop():
                return
            yield Update([], [], 0.0, [], 0)
        for i, wrong in enumerate(self.wrong):
            if wrong:
                record = self.records[i]
                record.hit(CLEAN, -1, 0, None, None)
                record.nonfinite = int(not self.finite[i])
                self._decide(i)
            else:
                self._go(i, 0)
        yield self._update(flush=True)
        for is_backend, group in itertools.groupby(
            range(len(self.legs)), lambda n: self._is_backend(self.legs[n].entry)
        ):
            for stage in [range(n, n + 1) for n in group] if is_backend else [_span(list(group))]:
                for _ in self._run_backend(stage[0]) if is_backend else self._run_lanes(stage):
                    if stop():
                        yield self._update(flush=True)
                        return
                    if out_of_time():
                        self._give_up_all()
                        yield self._update(flush=True)
                        return
                    yield self._update()
        yield self._update(flush=True)

    def _look_at_clean_inputs(self) -> Iterator[None]:
        """Measure the shapes of the models, evaluate clean inputs and points to replay, tile by tile."""
        others = [other for entry in self.entries for other in entry.attack.others]
        self.tiles, self.equality = shapes_of(
            [self.model, self.fast, *others], self.split, self.width
        )
        self.draws = [
            entry.attack.draws if isinstance(entry.attack, Attack) else 1 for entry in self.entries
        ]
        self.most_draws = max(self.draws, default=1)  # for points that no single entry is judged by
        parts = []
        for part in clean_tiles(self.split, self.model, self.tiles, self.most_draws):
            parts.append(part)
            yield
        self.pool = Pool(
            self.split, self.threats, self.model, seed=self.seed, tiles=self.tiles, clean=parts
        )
        self.clean = [
            column.tolist() for column in judge_logits(self.pool.logits0, self.split.labels)
        ]
        self.finite, self.wrong = answered(self.pool.logits0).tolist(), self.pool.wrong.tolist()
        self.records = [Record(margin, forwards=self.most_draws) for margin in self.clean[1]]
        attacks, classes = [entry.attack for entry in self.entries], self.pool.logits0.shape[1]
        variants = [
            attack.variants(classes) if isinstance(attack, Attack) else 1 for attack in attacks
        ]
        self.legs = [
            Leg(eps_index, k, v)
            for eps_index in range(len(self.threats))
            for k in range(len(attacks))
            for v in range(variants[k])
        ]
        self.place = {leg: position for position, leg in enumerate(self.legs)}
        self.work_per_sample = sum(self._steps(leg.entry) + 1 for leg in self.legs)
        self.reached, self.left, self.found = ([0] * len(attacks) for _ in range(3))
        points = {i: x for i, x in self.replay.items() if not self.wrong[i]}
        yield from replay_points(
            self.model, self.pool, points, self.records, self.tiles, self.width, self.most_draws
        )

    def _give_up_all(self) -> None:
        """Out of time: all undecided samples end as they are, marked as unfinished."""
        for k, lane in self.lanes.items():
            if (done := lane.interrupt()) is not None:
                self.next |= dict.fromkeys(
                    (job.sample for job, _ in self._enter(done, k, revive=False)), 0
                )
            self.next |= dict.fromkeys((job.sample for job in lane.queue), 0)
            lane.queue.clear()
        for i in [*self.next]:
            self._give_up(i)
        self.next.clear()

    # -- the way of a sample
    # -----------------------------------------------------------------------------------------------

    def _go(self, i: int, position: int) -> None:
        """Send sample i to its next leg from `position` on, or decide it."""
        record = self.records[i]
        while position < len(self.legs):
            eps_index, k, variant = self.legs[position]
            while len(record.outcomes) < eps_index:
                record.close()
            self._take_replayed(record, eps_index)
            if record.found and not self.smallest:
                return self._decide(i)
            if self.threats[eps_index].eps == 0:
                position = next(
                    (n for n, leg in enumerate(self.legs) if leg.eps_index > eps_index),
                    len(self.legs),
                )
                continue
            if self.queries - record.forwards < self.draws[k]:
                return self._give_up(i)
            self.reached[k] += variant == 0
            self.next[i] = position
            if k in self.lanes and position in self.stage:
                self._queue(i)
            return None
        return self._decide(i)

    def _queue(self, i: int) -> None:
        """Give the sample's next leg to its lane."""
        eps_index, k, variant = self.legs[self.next.pop(i)]
        left = (self.queries - self.records[i].forwards) // self.draws[k] - 1
        self.lanes[k].queue.append(Job(i, variant, eps_index, min(left, NO_LIMIT)))

    def _decide(self, i: int) -> None:
        """The sample ends as its record stands, at this budget and all larger ones."""
        record = self.records[i]
        for eps_index in range(len(record.outcomes), len(self.threats)):
            self._take_replayed(record, eps_index)
            record.close()
        if not self.keep_points:  # what has been judged need not be looked at again
            record.outcomes = [o._replace(x=None) if o.judged else o for o in record.outcomes]
            record.x = record.replayed = None
        self.finished.append(i)

    def _give_up(self, i: int) -> None:
        self.records[i].unfinished = not self.records[i].found or self.smallest
        self._decide(i)

    def _take_replayed(self, record: Record, eps_index: int) -> None:
        """From the first budget on that holds it, a stored point that breaks the sample is its end."""
        if record.replayed and record.replayed[0] <= eps_index and not record.found:
            record.hit(REPLAY, -1, -1, *record.replayed[1:])
            record.unfinished = record.unfinished and self.smallest

    # -- our own attacks
    # -------------------------------------------------------------------------------------------------

    def _run_lanes(self, stage: range) -> Iterator[None]:
        self.stage = stage
        self.lanes = {k: self._lane(k) for k in sorted({self.legs[n].entry for n in stage})}
        for i in [i for i, n in self.next.items() if n in stage]:
            self._queue(i)
        order = list(self.lanes)
        while True:
            waiting = {k: self.lanes[k].waiting for k in order}
            if not any(waiting.values()):
                break
            full = [k for k in order if waiting[k] >= self.lanes[k].width]
            k = full[-1] if full else next(k for k in order if waiting[k])
            lane = self.lanes[k]
            done = lane.step()
            self.work += (
                sum(job is not None for job in lane.jobs) + (len(done.jobs) if done else 0)
            ) * lane.steps_per_sync
            if done:
                self._book(done, k)
            yield
        self.lanes = {}

    def _lane(self, k: int) -> Lane:
        attack, salt = self.entries[k].attack, stream_of(self.entries[k].spec)
        assert isinstance(attack, Attack)

        def problems(jobs: Sequence[Job]) -> Problem:
            index, eps_index = (
                torch.tensor(c, device=self.device)
                for c in ([j.sample for j in jobs], [j.eps_index for j in jobs])
            )
            return self.pool.problem(index, salt, eps_index)

        # A claim refused throws an attack that closes in on the boundary off its way: such a one
        # sees the model itself.
        seen = self.fast if attack.goal == "fixed-eps" else self.model
        return Lane(attack, seen, problems, width=self.width, tiles=self.tiles, device=self.device)

    def _book(self, done: Done, k: int) -> None:
        """Enter finished rows in their samples' records and send the samples on."""
        for job, truncated in self._enter(done, k, revive=True):
            self._after(job, k, truncated)

    def _enter(self, done: Done, k: int, *, revive: bool) -> Iterator[tuple[Job, bool]]:
        """Enter rows in their samples' records; gives back those that have ended, and whether before their time."""
        lane, book = self.lanes[k], done.book
        found = book.found.tolist()
        points = dict(enumerate(book.x))
        judged = self._confirm(
            [row for row, claims in enumerate(found) if claims or self.recheck], done, k, points
        )
        columns = {name: column.tolist() for name, column in book.tensors().items() if name != "x"}
        for row, job in enumerate(done.jobs):
            record, seen = self.records[job.sample], judged.get(row)
            if seen is not None:
                self.disagreements += seen.adversarial != found[row]
                if found[row] and not seen.adversarial:
                    record.unconfirmed += (
                        self.fast is self.model
                    )  # a fast model may round otherwise, a model may not
                    if revive and lane.revive(done, row):
                        continue
            self._count(
                record,
                {name: column[row : row + 1] for name, column in columns.items()},
                done.steps[row] + 1,
            )
            if seen is not None and seen.adversarial:
                if not self.smallest or record.judged is None or seen.size < record.judged.size:
                    record.hit(k, job.variant, columns["first"][row], points[row], seen)
            elif (
                not record.found
                and (margin := seen.margin if seen else columns["margin"][row]) < record.margin
            ):
                record.margin, record.x, record.source = margin, points[row], (k, job.variant)
            yield job, job.steps <= done.steps[row] < self._steps(k) and not done.ended[row]

    def _after(self, job: Job, k: int, truncated: bool) -> None:
        """Where a sample goes from a leg it has been through."""
        position = self.place[job.eps_index, k, job.variant]  # type: ignore[index]
        fallen = self.records[job.sample].found and not self.smallest
        last = (
            position + 1 == len(self.legs) or self.legs[position + 1][:2] != self.legs[position][:2]
        )
        if fallen or truncated or last:
            self.left[k] += 1
            self.found[k] += self.records[job.sample].entry == k
        if fallen:
            self._decide(job.sample)
        elif truncated:
            self._give_up(job.sample)
        else:
            self._go(job.sample, position + 1)

    def _count(
        self, record: Record, columns: Mapping[str, Sequence[int] | Tensor], steps: int
    ) -> None:
        for name in ("forwards", "backwards", "nonfinite", "zero_gradients"):
            setattr(record, name, getattr(record, name) + int(columns[name][0]))
        record.tried(steps, shown=True)

    def _confirm(
        self, rows: list[int], done: Done, k: int, points: dict[int, Tensor]
    ) -> dict[int, JudgedRow]:
        """The re-check of some finished rows' `points`, by row.

        Without a budget the nearest point lies so close to the boundary that rounding in a batch of
        another size may decide it: then the points a little farther out on the same ray are tried,
        and replace it.
        """
        judged: dict[int, JudgedRow] = {}
        for stretch in STRETCHES if self.smallest else (1.0,):
            left = [
                row
                for row in rows
                if row not in judged or (done.book.found[row] and not judged[row].adversarial)
            ]
            if not left:
                break
            index, eps_index = (
                torch.tensor([done.jobs[row][n] for row in left], device=self.device)
                for n in (0, 2)
            )
            p, x = (
                self.pool.problem(index, eps_index=eps_index),
                torch.stack([done.book.x[row] for row in left]),
            )
            x = x if stretch == 1 else p.ball.into_box(p.x0 + stretch * (x - p.x0))
            for row, point, seen in zip(
                left, x, verify(self.model, x, p, self.tiles, self.draws[k]).rows(), strict=True
            ):
                judged[row], points[row] = seen, point
                self.records[done.jobs[row].sample].forwards += self.draws[k]
        return judged

    def _steps(self, k: int) -> int:
        attack = self.entries[k].attack
        return attack.steps if isinstance(attack, Attack) else 0

    # -- other packages' attacks
    # ---------------------------------------------------------------------------------------------

    def _is_backend(self, k: int) -> bool:
        return isinstance(self.entries[k].attack, Backend)

    def _run_backend(self, position: int) -> Iterator[None]:
        leg = self.legs[position]
        waiting = [i for i, n in self.next.items() if n == position]
        for start in range(0, len(waiting), self.width):
            chunk = waiting[start : start + self.width]
            self._backend(leg, chunk)
            yield

    def _backend(self, leg: Leg, samples: list[int]) -> None:
        k = leg.entry
        attack = self.entries[k].attack
        assert isinstance(attack, Backend)
        index = torch.tensor(samples, device=self.device)
        p = self.pool.problem(
            index, stream_of(self.entries[k].spec), torch.full_like(index, leg.eps_index)
        )
        counter = Counter(self.model)
        x = attack.run(counter, p, seed=self.seed).detach()
        self.work += len(samples)
        for row, (i, seen) in enumerate(
            zip(samples, verify(self.model, x, p, self.tiles).rows(), strict=True)
        ):
            record = self.records[i]
            record.tried(1, shown=not torch.equal(x[row], p.x0[row]))
            record.forwards += (
                counter.forwards // len(samples) + (row < counter.forwards % len(samples)) + 1
            )
            record.backwards += counter.backwards // len(samples) + (
                row < counter.backwards % len(samples)
            )
            if seen.adversarial:
                if not self.smallest or record.judged is None or seen.size < record.judged.size:
                    record.hit(k, 0, -1, x[row], seen)
            elif not record.found and seen.margin < record.margin and seen.fits:
                record.margin, record.x, record.source = seen.margin, x[row], (k, 0)
            del self.next[i]
            self._after(Job(i, 0, leg.eps_index), k, truncated=record.forwards > self.queries)

    # -- verdicts
    # --------------------------------------------------------------------------------------------------------

    def _update(self, flush: bool = False) -> Update:
        verdicts: list[Verdict] = []
        points: list[Tensor | None] = []
        if (
            flush
            or len(self.finished) >= self.tiles.rows
            or (self.finished and time.monotonic() - self.flushed > FLUSH_SECONDS)
        ):
            self.flushed = time.monotonic()
            for start in range(0, len(self.finished), self.width):
                chunk = {i: self.records[i] for i in self.finished[start : start + self.width]}
                for verdict, point in final_verdicts(
                    self.model,
                    self.pool,
                    chunk,
                    self.clean,
                    self.tiles,
                    self.most_draws,
                    late=self.fast is not self.model,
                ):
                    verdicts.append(verdict)
                    points.append(point)
            self.work -= sum(self.records[i].work for i in self.finished)
            self.done += len(self.finished)
            self.finished = []
        undecided = (len(self.split) - self.done) * self.work_per_sample
        total = max(len(self.split) * self.work_per_sample, 1)
        progress = (self.done * self.work_per_sample + min(max(self.work, 0), undecided)) / total
        entries = [
            EntryProgress(entry.spec, *counts)
            for entry, *counts in zip(
                self.entries, self.reached, self.left, self.found, strict=True
            )
        ]
        kept = points if self.keep_points else []
        return Update(verdicts, kept, progress, entries, self.disagreements)


def _span(positions: list[int]) -> range:
    return range(positions[0], positions[-1] + 1)
