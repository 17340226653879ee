"""A list of attacks as one worst case: a sample leaves at the first entry that beats it.

Every row attack has a lane; samples move from lane to lane on their own, so survivors of the first attack are at the second
while others are still at the first. A backend (another package's attack) waits for all that reach it.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robbench.attacks.base import AnyRowAttack, Attack, Backend
from robbench.core.device import tile_rows, whole_tiles
from robbench.core.status import NON_FINITE, OK, UNCONFIRMED
from robbench.data.base import Split
from robbench.engine.lane import Done, Job, Lane
from robbench.engine.pool import Pool, salt_of
from robbench.engine.verify import judge_logits, verify
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem, size_and_fits

CLEAN = -1  # the entry that "broke" a sample which was wrong from the start
TELL_SECONDS = 1.0  # a decided sample is told of no later than this


Judgement = tuple[int, float, float, bool, float, float]
"""The re-check of one point, as plain values in the order of `verify.Judged`."""


class Entry(NamedTuple):
    """One attack of the cascade, under its canonical spec."""

    spec: str
    attack: AnyRowAttack | Backend


class Verdict(NamedTuple):
    """What is known of one sample when it is done."""

    sample: int
    clean_pred: int
    clean_margin: float
    clean_pmargin: float
    adv_pred: int
    adv_margin: float
    adv_pmargin: float
    adversarial: bool
    linf: float
    l2: float
    entry: int  # position in the cascade of what broke it, CLEAN, or -2 when it holds
    variant: int
    step: int
    forwards: int
    backwards: int
    status: int


class Tick(NamedTuple):
    """A sign of life: samples that are done since the last one, and the share of all work that is done (at most)."""

    verdicts: list[Verdict]
    progress: float


@dataclasses.dataclass
class Record:
    """The running account of one sample."""

    margin: float
    x: Tensor | None = None  # worst point so far; None = the clean input
    found: bool = False
    entry: int = -2
    variant: int = -1
    step: int = -1
    forwards: int = 1
    backwards: int = 0
    nonfinite: int = 0
    unconfirmed: bool = False
    judged: Judgement | None = None  # the re-check of the point that broke it
    work: int = 0  # queries of our attacks, runs of backends: what the progress bar counts

    def broken(self, entry: int, variant: int, step: int, judged: Judgement) -> None:
        """A confirmed success: what, where and how; the point itself is no longer needed."""
        self.found, self.entry, self.variant, self.step = True, entry, variant, step
        self.judged, self.x = judged, None


class Cascade:
    """Runs entries over a split. `model` maps [0,1] inputs to logits; freeze it first (`engine/guard.py`)."""

    def __init__(self, model: nn.Module, split: Split, threat: ThreatModel, entries: Sequence[Entry], *, seed: int,
                 width: int) -> None:  # fmt: skip
        self.model, self.split, self.entries, self.seed, self.width = model, split, entries, seed, width
        self.device = split.labels.device
        self.tile = min(tile_rows(self.device), whole_tiles(width))
        self.pool = Pool(split, threat, model, seed=seed, tile=self.tile)
        pred, margin, pmargin = judge_logits(self.pool.logits0, split.labels)
        self.clean = [column.tolist() for column in (pred, margin, pmargin)]
        finite = torch.isfinite(self.pool.logits0).all(1)
        self.finite, self.correct = finite.tolist(), ((pred == split.labels) & finite).tolist()
        self.records = [Record(margin) for margin in self.clean[1]]
        self.finished: list[int] = []  # decided, waiting to be told
        self.told = time.monotonic()
        classes = self.pool.logits0.shape[1]
        self.variants = [entry.attack.variants(classes) if isinstance(entry.attack, Attack) else 1 for entry in entries]
        self.work_per_sample = sum(
            n * (entry.attack.steps + 1) if isinstance(entry.attack, Attack) else n
            for n, entry in zip(self.variants, entries, strict=True)
        )
        self.work, self.done = 0, 0  # of undecided samples; samples decided

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Tick]:
        """Decide every sample, telling of each as soon as it is certain; after `stop()` nothing new is begun."""
        alive = []
        for i, correct in enumerate(self.correct):
            if not correct:
                bad = not self.finite[i]
                self.records[i] = dataclasses.replace(self.records[i], found=True, entry=CLEAN, step=0, nonfinite=bad)
            if not correct or self.pool.threat.eps == 0:
                self.finished.append(i)
            else:
                alive.append(i)
        yield self._tick(flush=True)
        for is_backend, group in itertools.groupby(
            range(len(self.entries)), lambda k: isinstance(self.entries[k].attack, Backend)
        ):
            for _ in self._backends(list(group), alive) if is_backend else self._lanes(list(group), alive):
                if stop():
                    yield self._tick(flush=True)
                    return
                yield self._tick()
            alive = [i for i in alive if not self.records[i].found]
        yield self._tick(flush=True)

    # -- our own attacks -------------------------------------------------------------------------------------------------

    def _lanes(self, group: list[int], alive: list[int]) -> Iterator[None]:
        lanes = [self._lane(k) for k in group]
        jobs = [(lane, variant) for lane, k in enumerate(group) for variant in range(self.variants[k])]
        following = {job: jobs[n + 1] if n + 1 < len(jobs) else None for n, job in enumerate(jobs)}
        lanes[0].queue.extend(Job(i, 0) for i in alive)
        while True:
            waiting = [lane.waiting for lane in lanes]
            if not any(waiting):
                return
            full = [n for n, count in enumerate(waiting) if count >= lanes[n].width]
            n = full[-1] if full else next(n for n, count in enumerate(waiting) if count)
            done = lanes[n].step()
            self.work += (sum(job is not None for job in lanes[n].jobs) + (len(done.jobs) if done else 0)) * lanes[n].pulse
            for i, variant, *_ in self._book(done, group[n]) if done else ():
                after = following[n, variant]
                if after is not None:
                    lanes[after[0]].queue.append(Job(i, after[1]))
                elif group[-1] == len(self.entries) - 1:  # it has stood all attacks
                    self.finished.append(i)
            yield

    def _lane(self, k: int) -> Lane:
        entry = self.entries[k]
        assert isinstance(entry.attack, Attack)
        salt = salt_of(entry.spec)

        def problems(jobs: Sequence[Job]) -> Problem:
            return self.pool.problem(torch.tensor([job.sample for job in jobs], device=self.device), salt)

        return Lane(entry.attack, self.model, problems, width=self.width, tile=self.tile, device=self.device)

    def _book(self, done: Done, k: int) -> Iterator[Job]:
        """Enter finished rows in their samples' records; gives back the jobs whose samples still stand."""
        book = done.book
        confirmed = self._confirm(done)
        names = ("found", "first", "margin", "forwards", "backwards", "nonfinite")
        columns = zip(*(getattr(book, name).tolist() for name in names), strict=True)
        for row, (job, (found, first, margin, forwards, backwards, nonfinite)) in enumerate(zip(done.jobs, columns, strict=True)):
            record = self.records[job.sample]
            record.forwards += forwards
            record.work += forwards
            record.backwards += backwards
            record.nonfinite += nonfinite
            if found:
                record.forwards += 1
                if confirmed[row][3]:
                    record.broken(k, job.variant, first, confirmed[row])
                    self.finished.append(job.sample)
                    continue
                record.unconfirmed = True  # a model that changes its mind: the next attacks have to try
            elif margin < record.margin:
                record.margin, record.x = margin, book.x[row]
            yield job

    def _confirm(self, done: Done) -> dict[int, Judgement]:
        """The re-check of the rows that claim a success, by row."""
        rows = done.book.found.nonzero()[:, 0]
        if not len(rows):
            return {}
        index = torch.tensor([done.jobs[row].sample for row in rows.tolist()], device=self.device)
        columns = verify(self.model, done.book.x[rows], self.pool.problem(index), self.tile)
        return dict(zip(rows.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True))

    # -- other packages' attacks -----------------------------------------------------------------------------------------

    def _backends(self, group: list[int], alive: list[int]) -> Iterator[None]:
        for k in group:
            alive = [i for i in alive if not self.records[i].found]
            for start in range(0, len(alive), self.width):
                batch = alive[start : start + self.width]
                self._backend(k, batch)
                if k == len(self.entries) - 1:
                    self.finished += [i for i in batch if not self.records[i].found]
                yield

    def _backend(self, k: int, samples: list[int]) -> None:
        attack = self.entries[k].attack
        assert isinstance(attack, Backend)
        p = self.pool.problem(torch.tensor(samples, device=self.device), salt_of(self.entries[k].spec))
        counter = Counter(self.model)
        x = attack.run(counter, p, seed=self.seed).detach()
        columns = (*verify(self.model, x, p, self.tile), size_and_fits(x, p)[1])
        judged = list(zip(*(column.tolist() for column in columns), strict=True))
        self.work += len(samples)
        for row, i in enumerate(samples):
            record = self.records[i]
            record.work += 1
            record.forwards += counter.forwards // len(samples) + (row < counter.forwards % len(samples)) + 1
            record.backwards += counter.backwards // len(samples) + (row < counter.backwards % len(samples))
            if judged[row][3]:
                record.broken(k, 0, -1, judged[row][:6])
                self.finished.append(i)
            elif judged[row][1] < record.margin and judged[row][6]:
                record.margin, record.x = judged[row][1], x[row]

    # -- verdicts --------------------------------------------------------------------------------------------------------

    def _tick(self, flush: bool = False) -> Tick:
        verdicts: list[Verdict] = []
        if flush or len(self.finished) >= self.tile or (self.finished and time.monotonic() - self.told > TELL_SECONDS):
            self.told = time.monotonic()
            for start in range(0, len(self.finished), self.width):
                verdicts += self._judge(self.finished[start : start + self.width])
            self.finished = []
            self.done += len(verdicts)
        undecided = (len(self.split) - self.done) * self.work_per_sample
        total = max(len(self.split) * self.work_per_sample, 1)
        return Tick(verdicts, (self.done * self.work_per_sample + min(max(self.work, 0), undecided)) / total)

    def _judge(self, samples: list[int]) -> list[Verdict]:
        """Re-check worst points of samples that stand; what broke the others is judged, and clean logits are known, already."""
        pred, margin, pmargin = self.clean
        verdicts = [
            self._verdict(i, *(self.records[i].judged or (pred[i], margin[i], pmargin[i], self.records[i].found, 0.0, 0.0)))
            for i in samples
            if self.records[i].x is None
        ]
        moved = [(i, x) for i in samples if (x := self.records[i].x) is not None]
        if moved:
            index, points = zip(*moved, strict=True)
            p = self.pool.problem(torch.tensor(index, device=self.device))
            columns = [column.tolist() for column in verify(self.model, torch.stack(points), p, self.tile)]
            verdicts += [self._verdict(i, *row) for i, row in zip(index, zip(*columns, strict=True), strict=True)]
        return verdicts

    def _verdict(self, i: int, pred: int, margin: float, pmargin: float, adversarial: bool, linf: float, l2: float) -> Verdict:
        record = self.records[i]
        clean = (self.clean[0][i], self.clean[1][i], self.clean[2][i])
        self.work -= record.work
        status = UNCONFIRMED if record.unconfirmed else NON_FINITE if record.nonfinite else OK
        adversarial = adversarial and record.found  # no attack claimed a point that only the re-check finds wrong
        entry = (record.entry, record.variant, record.step) if adversarial else (-2, -1, -1)
        checks = 0 if record.x is None else 1
        record.x = None
        return Verdict(i, *clean, pred, margin, pmargin, adversarial, linf, l2, *entry,
                       record.forwards + checks, record.backwards, status)  # fmt: skip


class Counter(nn.Module):
    """Counts the rows that pass a model, forwards and backwards, on behalf of a backend."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._backward)  # type: ignore[no-untyped-call]
        return logits

    def _backward(self, grad: Tensor) -> None:
        self.backwards += len(grad)
