"""A list of attacks as one worst case: a sample leaves at the first entry that beats it.

Every row attack has a lane; samples move from lane to lane on their own, so survivors of the first
attack are at the second while others are still at the first. With several budgets of one norm a
sample goes through all attacks at the smallest, then, if it is not broken, at the next: what broke
it at one budget counts at every larger one. Without a budget (eps = inf) every sample goes through
every entry, and the smallest perturbation is kept. A backend (another package's attack) waits for
all samples that reach it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack, AttackEntry, Backend
from robbench.core.tiles import Model, RowEquality, Tiles
from robbench.data.base import Split
from robbench.engine.backend import attempts_of
from robbench.engine.lane import NO_LIMIT
from robbench.engine.lanes import Lanes, least_forwards
from robbench.engine.ledger import Ledger
from robbench.engine.pool import CleanAnswers, Pool, clean_tiles, stream_of
from robbench.engine.progress import Meter
from robbench.engine.records import Attempt, Update, Verdict
from robbench.engine.replay import replay_points
from robbench.engine.schedule import Schedule, Stage
from robbench.engine.shapes import plain, shapes_of
from robbench.threat.model import ThreatModel, classes_in_play

FLUSH_SECONDS = 1.0  # a decided sample is in an update no later than this


class Cascade:
    """Runs entries over a split; `model` maps [0,1] inputs to logits: freeze it first.

    threats: one or several budgets of one norm, ascending. fast: what the attacks see instead of
    the model, faster and a little less exact; the model itself confirms every success, and with
    `recheck` also looks at the worst points of rows that found none. dtype: of the points that are
    shown to `fast`; the model itself sees float32. replay: points [*] of samples,
    tried first. queries: at most so many forwards per sample, but for re-checks. weights: how long
    a step of each entry takes, in any unit, for the progress; all alike by default.
    """

    equality: RowEquality  # what was measured of the models; this and the rest: from `run` on
    tiles: Tiles  # the shapes in which they are evaluated
    pool: Pool
    ledger: Ledger
    schedule: Schedule
    meter: Meter

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        threats: ThreatModel | Sequence[ThreatModel],
        entries: Sequence[AttackEntry],
        *,
        seed: int,
        width: int,
        fast: Model | None = None,
        recheck: bool = False,
        dtype: torch.dtype = torch.float32,
        replay: Mapping[int, Tensor] | None = None,
        queries: int = NO_LIMIT,
        keep_points: bool = False,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.model = model
        self.split = split
        self.threats = [threats] if isinstance(threats, ThreatModel) else list(threats)
        self.entries = entries
        self.seed = seed
        self.width = width
        self.minimum_norm = math.isinf(self.threats[-1].eps)
        # The nearest points are where the fast model and the model disagree: without a budget the
        # model itself is searched.
        self.fast = model if fast is None or self.minimum_norm else fast
        self.recheck = recheck and not self.minimum_norm
        self.dtype = torch.float32 if self.minimum_norm else dtype
        self.replay = replay or {}
        self.queries = queries
        self.keep_points = keep_points
        self.weights = [1.0] * len(entries) if weights is None else list(weights)
        self.draws = [
            entry.attack.draws if isinstance(entry.attack, Attack) else 1 for entry in entries
        ]
        self.next: dict[int, int] = {}  # position of the trial that a waiting sample comes to next
        self.lanes: Lanes | None = None  # of a stage of our own attacks
        self.stage = Stage(range(0), backend=False)
        self.flushed = time.monotonic()

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
        for _ in self._begin():
            if stop():
                return
            yield Update([], [], 0.0, [], 0)
        for i, broken in enumerate(self.pool.broken.tolist()):
            self.ledger.wrong_from_the_start(i) if broken else self._send(i, 0)
        self.meter.skipped = int(self.pool.broken.sum())
        yield self._update(flush=True)
        for _ in self._attack():
            if stop():
                break
            if out_of_time():
                self._give_up()
                break
            yield self._update()
        yield self._update(flush=True)

    def _begin(self) -> Iterator[None]:
        """Measure the shapes of the models, evaluate clean inputs and points to replay."""
        attacks = [entry.attack for entry in self.entries]
        others = [other for attack in attacks for other in attack.others]
        self.tiles, self.equality = shapes_of(
            [self.model, self.fast, *others],
            self.split,
            self.width,
            gradients=bool(others) or any(attack.access == "white-box" for attack in attacks),
        )
        draws = max(self.draws, default=1)  # for points that no single entry is judged by
        clean = CleanAnswers(len(self.split))
        for logits, wrong in clean_tiles(self.split, self.model, self.tiles, draws):
            clean.add(logits, wrong)
            yield
        self.pool = Pool(self.split, self.threats, clean.columns, seed=self.seed)
        self.ledger = Ledger(
            self.pool,
            self.model,
            self.tiles,
            draws=draws,
            late=plain(self.fast) is not plain(self.model),
            keep_points=self.keep_points,
        )
        classes = classes_in_play(self.pool.logits0.shape[1], self.threats[0])
        self.schedule = Schedule(
            len(self.threats),
            [attack.variants(classes) if isinstance(attack, Attack) else 1 for attack in attacks],
            [isinstance(attack, Backend) for attack in attacks],
        )
        steps = [attack.steps if isinstance(attack, Attack) else 0 for attack in attacks]
        work = sum(self.weights[k] * (steps[k] + 1) for _, k, _ in self.schedule.trials)
        self.meter = Meter([entry.spec for entry in self.entries], len(self.split), work)
        points = {i: x for i, x in self.replay.items() if not self.pool.broken[i]}
        yield from replay_points(
            self.model, self.pool, points, self.ledger.records, self.tiles, self.width, draws
        )

    def _attack(self) -> Iterator[None]:
        yield  # time may be up before the first step
        for stage in self.schedule.stages():
            self.stage = stage
            yield from self._run_backend() if stage.backend else self._run_lanes()

    def _update(self, flush: bool = False) -> Update:
        """What is certain by now, unless so little and so soon after the last that it can wait."""
        decided = self.ledger.decided
        late = time.monotonic() - self.flushed > FLUSH_SECONDS
        found: list[tuple[Verdict, Tensor | None]] = []
        if flush or len(decided) >= self.tiles.rows or (decided and late):
            self.flushed = time.monotonic()
            work = sum(self.ledger.records[i].work for i in decided)
            self.meter.finish(len(decided), work)
            found = self.ledger.take_verdicts(self.width)
        return Update(
            [verdict for verdict, _ in found],
            [point for _, point in found] if self.keep_points else [],
            self.meter.share,
            list(self.meter.entries),
            self.ledger.disagreements,
            self.meter.now,
        )

    # -- the way of a sample

    def _send(self, i: int, position: int) -> None:
        """Send sample i to the first trial from `position` on that is to be made, or decide it."""
        for n in range(position, len(self.schedule.trials)):
            trial = self.schedule.trials[n]
            self.ledger.come_to(i, trial.eps_index)
            if self.ledger.is_broken(i):
                break
            if self.threats[trial.eps_index].eps == 0:
                continue
            if self._queries_left(i) < least_forwards(self.entries[trial.entry], self.pool):
                self.ledger.give_up(i)
                return
            if trial.variant == 0:
                self.meter.reach(trial.entry)
            self.next[i] = n
            if self.lanes is not None and n in self.stage.positions:
                self._queue(self.lanes, i)
            return
        self.ledger.decide(i)

    def _settle(self, attempt: Attempt) -> None:
        """Book what a trial came to and send its sample on."""
        i, entry = attempt.sample, attempt.trial.entry
        position = self.schedule.position[attempt.trial]
        self.ledger.enter(attempt)
        broken = self.ledger.is_broken(i)
        if broken or attempt.truncated or self.schedule.ends_entry(position):
            self.meter.leave(entry, found=self.ledger.records[i].entry == entry)
        if broken:
            self.ledger.decide(i)
        elif attempt.truncated:
            self.ledger.give_up(i)
        else:
            self._send(i, position + 1)

    def _give_up(self) -> None:
        """Out of time: all undecided samples end as they are, marked as unfinished."""
        attempts, queued = self.lanes.interrupt() if self.lanes else ([], [])
        for attempt in attempts:
            self.ledger.enter(attempt)
        for i in [*self.next, *(attempt.sample for attempt in attempts), *queued]:
            self.ledger.give_up(i)
        self.next.clear()

    def _queries_left(self, i: int) -> int:
        return self.queries - self.ledger.records[i].n_asked

    def _waiting(self) -> list[int]:
        """Samples whose next trial is of this stage."""
        return [i for i, n in self.next.items() if n in self.stage.positions]

    # -- our own attacks

    def _run_lanes(self) -> Iterator[None]:
        entries = {self.schedule.trials[n].entry for n in self.stage.positions}
        self.lanes = lanes = Lanes(
            {k: self.entries[k] for k in sorted(entries)},
            self.ledger,
            fast=self.fast,
            recheck=self.recheck,
            dtype=self.dtype,
            width=self.width,
            weights=self.weights,
        )
        for i in self._waiting():
            self._queue(lanes, i)
        while lanes.waiting:
            attempts, work, queries = lanes.step()
            self.meter.take(work, queries)
            self.meter.begun = max(self.meter.begun, lanes.begun)
            for attempt in attempts:
                self._settle(attempt)
            yield
        self.lanes = None

    def _queue(self, lanes: Lanes, i: int) -> None:
        """Let sample i wait in a lane for the trial it comes to next."""
        trial = self.schedule.trials[self.next.pop(i)]
        lanes.queue(i, trial, self._queries_left(i))

    # -- other packages' attacks

    def _run_backend(self) -> Iterator[None]:
        trial = self.schedule.trials[self.stage.positions[0]]
        entry, waiting = self.entries[trial.entry], self._waiting()
        assert isinstance(entry.attack, Backend)
        for start in range(0, len(waiting), self.width):
            samples = waiting[start : start + self.width]
            index = torch.tensor(samples, device=self.pool.device)
            eps_index = torch.full_like(index, trial.eps_index)
            p = self.pool.problem(index, stream_of(entry.spec), eps_index)
            attempts = attempts_of(
                entry.attack, self.model, p, samples, trial, seed=self.seed, tiles=self.tiles
            )
            work = self.weights[trial.entry]
            queries = sum(attempt.n_forward + attempt.n_backward for attempt in attempts)
            self.meter.take(work * len(samples), queries)
            self.meter.begun = self.meter.samples - self.meter.skipped
            for attempt in attempts:
                del self.next[attempt.sample]
                over = attempt.n_forward > self._queries_left(attempt.sample)
                self._settle(attempt._replace(truncated=over, work=work))
            yield
