"""The lanes of our own attacks side by side: whichever is full takes the next steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import Attack, AttackEntry
from robbench.core.tiles import Model
from robbench.engine.confirm import Confirmed, confirm
from robbench.engine.lane import NO_LIMIT, Done, Job, Lane
from robbench.engine.ledger import Ledger
from robbench.engine.pool import Pool, stream_of
from robbench.engine.records import Attempt
from robbench.engine.schedule import Trial
from robbench.threat.model import classes_in_play
from robbench.threat.problem import Problem


class Stepped(NamedTuple):
    """A few steps of one lane: finished trials, work, and about as many queries."""

    attempts: list[Attempt]
    work: float
    queries: float


def least_forwards(entry: AttackEntry, pool: Pool) -> int:
    """Forwards without which a trial of an entry is not begun."""
    if not isinstance(entry.attack, Attack):
        return 1
    forwards, _ = entry.attack.preparation(pool.logits0.shape[1])
    return entry.attack.draws * (1 + forwards)


class Lanes:
    """A lane for each of some entries of a cascade, by their positions in it.

    fast: what the attacks see, points of `dtype`. recheck: also points that the attacks do not
    claim are confirmed. weights: of a step of each entry of the cascade.
    """

    def __init__(
        self,
        entries: Mapping[int, AttackEntry],
        ledger: Ledger,
        *,
        fast: Model,
        recheck: bool,
        dtype: torch.dtype,
        width: int,
        weights: Sequence[float],
    ) -> None:
        self.ledger = ledger
        self.weights = weights
        self.fast = fast
        self.recheck = recheck
        self.dtype = dtype
        self.width = width
        self.lanes = {k: self._lane(entry) for k, entry in entries.items()}
        classes = classes_in_play(ledger.pool.logits0.shape[1], ledger.pool.threats[0])
        self.queries_per_step = {  # of a row, about
            k: lane.attack.draws * (1 + lane.attack.gradients(classes))
            for k, lane in self.lanes.items()
        }

    @property
    def waiting(self) -> list[int]:
        """Entries that have rows queued or in flight."""
        return [k for k, lane in self.lanes.items() if lane.waiting]

    def queue(self, sample: int, trial: Trial, queries: int) -> None:
        """Let a sample wait for a trial, which may make so many forwards."""
        lane = self.lanes[trial.entry]
        classes = self.ledger.pool.logits0.shape[1]
        asked = queries // lane.attack.draws - lane.preparation(sample, classes)
        steps = min(asked - 1, NO_LIMIT)
        job = Job(sample, trial.variant, trial.eps_index, steps)
        # Of a split that is too large for memory few worst points are to be held at a time: who
        # has begun goes first. Else all go side by side, and the last steps are of full batches.
        begun = trial.variant > 0 or trial.eps_index > 0
        if begun and self.ledger.pool.split.streamed:
            lane.queue.appendleft(job)
        else:
            lane.queue.append(job)

    @property
    def begun(self) -> int:
        """Samples that have come to the first trial of the first entry."""
        return next(iter(self.lanes.values())).begun

    def step(self) -> Stepped:
        """A few steps of the last full lane, else of the first."""
        waiting = self.waiting
        full = [k for k in waiting if self.lanes[k].waiting >= self.lanes[k].width]
        k = full[-1] if full else waiting[0]
        lane = self.lanes[k]
        done = lane.step()
        rows = len(lane.jobs) - lane.jobs.count(None) + (len(done.jobs) if done else 0)
        attempts = self._attempts(k, done, revive=lane.revive) if done else []
        steps = rows * lane.taken
        return Stepped(attempts, self.weights[k] * steps, steps * self.queries_per_step[k])

    def interrupt(self) -> tuple[list[Attempt], list[int]]:
        """Empty all lanes: trials in flight as they are, and samples that were queued."""
        attempts: list[Attempt] = []
        queued: list[int] = []
        for k, lane in self.lanes.items():
            if (done := lane.interrupt()) is not None:
                attempts += self._attempts(k, done, revive=lambda done, row: False)
            queued += [job.sample for job in lane.queue]
            lane.queue.clear()
        return attempts, queued

    def _lane(self, entry: AttackEntry) -> Lane:
        attack, stream = entry.attack, stream_of(entry.spec)
        assert isinstance(attack, Attack)
        # A refused claim throws an attack that closes in on the boundary off its way: such a one
        # sees the model itself.
        fixed = attack.goal == "fixed-eps"
        seen = self.fast if fixed else self.ledger.model
        dtype = self.dtype if fixed else torch.float32
        return Lane(
            attack,
            seen,
            lambda jobs: self._problems(jobs, stream).to(dtype),
            width=self.width,
            tiles=self.ledger.tiles,
            device=self.ledger.pool.device,
            ahead=self._ahead,
        )

    def _ahead(self, jobs: Sequence[Job]) -> None:
        split = self.ledger.pool.split
        split.ahead(torch.tensor([job.sample for job in jobs], dtype=torch.int64))

    def _problems(self, jobs: Sequence[Job], stream: int = 0) -> Problem:
        pool = self.ledger.pool
        samples = torch.tensor([job.sample for job in jobs], device=pool.device)
        eps_indices = torch.tensor([job.eps_index for job in jobs], device=pool.device)
        return pool.problem(samples, stream, eps_indices)

    def _attempts(
        self, k: int, done: Done, *, revive: Callable[[Done, int], bool]
    ) -> list[Attempt]:
        """Finished rows of entry k, confirmed, but for refused ones that `revive` lets go on."""
        columns = {name: c.tolist() for name, c in done.book.tensors().items() if name != "x"}
        found, points = columns["found"], done.book.x.float()
        confirmed = self._confirm(k, done, points, found)
        attempts = []
        for row, job in enumerate(done.jobs):
            seen = confirmed.get(row)
            if seen is not None:
                refused = self.ledger.book_check(job.sample, found[row], seen)
                if refused and revive(done, row):
                    continue
            steps, most = done.steps[row], self.lanes[k].attack.steps
            attempts.append(
                Attempt(
                    sample=job.sample,
                    trial=Trial(job.eps_index, k, job.variant),
                    x=seen.x if seen else points[row],
                    judged=seen.judged if seen else None,
                    margin=seen.judged.margin if seen else columns["margin"][row],
                    step=columns["first"][row],
                    n_forward=columns["n_forward"][row],
                    n_backward=columns["n_backward"][row],
                    n_nonfinite=columns["n_nonfinite"][row],
                    n_zero_gradient=columns["n_zero_gradient"][row],
                    work=self.weights[k] * (steps + 1),
                    truncated=job.steps <= steps < most and not done.ended[row],
                )
            )
        return attempts

    def _confirm(
        self, k: int, done: Done, points: Tensor, found: Sequence[bool]
    ) -> dict[int, Confirmed]:
        """What the model says of rows that claim a success, or of all, by row."""
        rows = [row for row, claims in enumerate(found) if claims or self.recheck]
        if not rows:
            return {}
        checks = confirm(
            self.ledger.model,
            self._problems([done.jobs[row] for row in rows]),
            points[rows],
            [found[row] for row in rows],
            self.ledger.tiles,
            self.lanes[k].attack.draws,
            stretch=self.ledger.minimum_norm,
        )
        return dict(zip(rows, checks, strict=True))
