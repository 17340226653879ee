"""One attack at one width: rows of samples that are refilled as they finish (continuous batching).

Every row has its own clock, so a fresh sample may sit beside one at its 90th step. When nothing
waits any more, live rows are moved together and the lane gets narrower.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import AnyRowAttack, state_of
from robbench.core.rows import Rows
from robbench.core.tiles import Model, Tiles, largest_tile
from robbench.engine.oracle import Book, ModelOracle, blank_book
from robbench.engine.shapes import holds
from robbench.threat.problem import Problem

NO_LIMIT = 1 << 40
GPU_STEPS = 8
"""Steps between two looks at who is done: each look makes the host wait for the GPU."""
CPU_SECONDS = 0.1
"""On a CPU every step is looked at, and the next one follows until a row ends or so long passes."""


class Job(NamedTuple):
    """A sample, the attack's variant to run on it, the budget's position, and steps at most."""

    sample: int
    variant: int = 0
    eps_index: int = 0
    steps: int = NO_LIMIT


class Done(NamedTuple):
    """Rows that have finished: jobs, books, moves made, whether over, their places."""

    jobs: list[Job]
    book: Book
    steps: list[int]
    ended: list[bool]
    places: list[int]


class Lane:
    """Rows in flight of one attack. `problems(jobs)` makes their problems, before variants.

    `ahead(jobs)` hears whose problems are next.
    """

    def __init__(
        self,
        attack: AnyRowAttack,
        model: Model,
        problems: Callable[[Sequence[Job]], Problem],
        *,
        width: int,
        tiles: Tiles,
        device: torch.device,
        ahead: Callable[[Sequence[Job]], None] = lambda jobs: None,
    ) -> None:
        self.attack = attack
        self.problems = problems
        self.ahead = ahead
        self.device = device
        self.tiles = tiles
        self.width = tiles.padded(width)
        self.oracle = ModelOracle(model, tiles, attack.draws)
        self.blind = GPU_STEPS if device.type == "cuda" else 0  # steps without a look
        self.taken = 0  # steps by the last `step`
        self.queue: deque[Job] = deque()
        self.jobs: list[Job | None] = []  # of each row; None = idle
        self.prepared: dict[int, Tensor] = {}  # by sample: what the attack has asked about it
        self.wasted = 0  # idle rows that were asked, since the last look at whether they are needed
        self.unpadded: dict[int, bool] = {}  # numbers of rows: whether they need no padding
        self.begun = 0  # samples that have come to their first trial here
        self.p: Problem
        self.s: Rows
        self.book: Book
        self.found: Tensor | None = None  # the last of the book whose rows were ended
        self.t: Tensor
        self.steps: Tensor  # [B] of each row at most
        self.active: Tensor

    @property
    def waiting(self) -> int:
        """Jobs queued or in flight."""
        return len(self.queue) + len(self.jobs) - self.jobs.count(None)

    def step(self) -> Done | None:
        """Refill, take a few steps, and return the rows that finished, if any."""
        self._refill()
        idle, self.taken = self.jobs.count(None), 0
        if idle:  # they go by a live one's clock: early steps may cost all more
            live = next(row for row, job in enumerate(self.jobs) if job)
            self.t = torch.where(self.active, self.t, self.t[live])
        if self.blind:
            for _ in range(self.blind):
                self._take_step(self.steps)
        else:
            sure, until, more = self._sure_steps(), time.monotonic() + CPU_SECONDS, True
            while more:
                all_go_on = self._take_step(None if self.taken < sure else self.steps)
                more = all_go_on and time.monotonic() < until
        self.wasted += idle * self.taken
        return self._harvest()

    def _sure_steps(self) -> int:
        """Steps before the last one of any row."""
        rows = zip(self.active.tolist(), self.t.tolist(), self.steps.tolist(), strict=True)
        return min((last - t for active, t, last in rows if active), default=0)

    def _take_step(self, steps: Tensor | None) -> bool:
        """Whether all rows go on; `steps` as of the oracle's `bind`."""
        before, active = self.s, self.active
        self.s, self.book = self.oracle.step(
            self.attack, before, self.p, self.book, self.t, active, steps
        )
        self.taken += 1
        if self.blind:  # rows that ended before the next look stay where they were
            self.s = self.s.choose(active, before)
        self.active = self.oracle.moves  # those that were not at their last step
        if (done := self.attack.done(self.s)) is not None:
            self.active = self.active & ~done
        if self.book.found is not self.found:  # another one says: there are new
            self.found = self.book.found
            self.active = self.active & ~(self.found & (self.p.eps < torch.inf))
        all_go_on = not self.blind and _equal(self.active, active)
        # Rows that end, or ended, keep their last step: schedules never run off their tables.
        self.t = self.t + (1 if all_go_on else self.active)
        return all_go_on

    def interrupt(self) -> Done | None:
        """All rows in flight as they are; the lane is empty then."""
        if all(job is None for job in self.jobs):
            return None
        self.active = torch.zeros_like(self.active)
        return self._harvest()

    def revive(self, done: Done, row: int) -> bool:
        """Let a row whose claim was refused go on, if it has steps left; before the next step."""
        place = done.places[row]
        finished = self.attack.done(self.s)
        if self.t[place] >= self.steps[place] or (finished is not None and finished[place]):
            return False
        self.jobs[place] = done.jobs[row]
        self.active[place] = True
        self.t[place] += 1
        self.book = self.book.replace(found=self.book.found.clone())
        self.book.found[place] = False
        return True

    def _refill(self) -> None:
        live = [row for row, job in enumerate(self.jobs) if job is not None]
        room = self.width - len(live)
        if self.queue and (room >= self.tiles.step or not live):
            self._rebuild(live, [self.queue.popleft() for _ in range(min(room, len(self.queue)))])
            self.ahead(list(islice(self.queue, self.width)))
        elif not self.queue and self._narrower(len(live)):
            self._rebuild(live, [])

    def _narrower(self, live: int) -> bool:
        """Whether fewer rows than are in flight would do for those that are live.

        Whether they need no padding is measured once padding has cost as much as that does.
        """
        idle = len(self.jobs) - live
        if not idle or self.tiles.padded(live) < len(self.jobs):
            return idle > 0
        if self.device.type != "cpu" or not self.tiles.step < live < self.tiles.rows:
            return False
        measured = live + largest_tile(self.device, self.p.x0.shape[1:]).rows
        if live not in self.unpadded and self.wasted > measured:
            self.wasted = 0
            gradients = self.attack.access == "white-box"
            self.unpadded[live] = holds(self.oracle.model, self.p.x0, live, gradients=gradients)
        return self.unpadded.get(live, False)

    def _rebuild(self, live: list[int], jobs: list[Job]) -> None:
        """Keep the live rows, add fresh ones for `jobs`, and pad with idle copies."""
        rows: list[tuple[Problem, Rows, Book]] = []
        clocks: list[tuple[Tensor, Tensor]] = []
        if live:
            place = torch.tensor(live, device=self.device)
            rows.append((self.p.take(place), self.s.take(place), self.book.take(place)))
            clocks.append((self.t[place], self.steps[place]))
        if jobs:
            p, book = self._prepared(self.problems(jobs), jobs)
            variants = torch.tensor([job.variant for job in jobs], device=self.device)
            p = self.attack.vary(p, variants)
            rows.append((p, state_of(self.attack, "start", self.attack.start(p)), book))
            limits = torch.tensor(
                [min(job.steps, self.attack.steps) for job in jobs], device=self.device
            )
            clocks.append((torch.zeros_like(limits), limits))
        self.begun += sum(job.variant == job.eps_index == 0 for job in jobs)
        size = len(live) + len(jobs)
        tiles = Tiles(size, size) if self.unpadded.get(size) else self.tiles
        self.oracle.tiles = tiles
        padding = torch.zeros(tiles.padded(size) - size, dtype=torch.int64, device=self.device)
        rows.append(tuple(part.take(padding) for part in rows[0]))  # type: ignore[arg-type]
        clocks.append((padding, padding))
        self.p, self.s, self.book = (
            type(parts[0]).concat(parts) for parts in zip(*rows, strict=True)
        )
        self.t, self.steps = (torch.cat(column) for column in zip(*clocks, strict=True))
        self.active = torch.arange(len(self.t), device=self.device) < size
        self.jobs = [self.jobs[row] for row in live] + list(jobs) + [None] * len(padding)

    def preparation(self, sample: int, classes: int) -> int:
        """Forwards to prepare the next job of a sample."""
        return 0 if sample in self.prepared else self.attack.preparation(classes)[0]

    def _prepared(self, p: Problem, jobs: Sequence[Job]) -> tuple[Problem, Book]:
        """The jobs' problems with what the attack has asked, and their books with its queries."""
        book = blank_book(p)
        fresh = [job.sample not in self.prepared for job in jobs]
        if any(fresh):
            asking = torch.tensor(fresh, device=self.device)
            self.oracle.bind(p, book, torch.zeros_like(p.y), asking, steps=1)
            found = self.attack.prepare(p, self.oracle)
            book = self.oracle.book
            if found is None:
                return p, book
            for row, job in enumerate(jobs):
                self.prepared.setdefault(job.sample, found[row])
        known = torch.stack([self.prepared[job.sample] for job in jobs])
        return p.replace(prepared=known), book

    def _harvest(self) -> Done | None:
        active = self.active.tolist()
        rows = [row for row, job in enumerate(self.jobs) if job is not None and not active[row]]
        if not rows:
            return None
        jobs = [job for row in rows if (job := self.jobs[row])]
        for row in rows:
            self.jobs[row] = None
        place = torch.tensor(rows, device=self.device)
        ended = self.attack.done(self.s)
        over = [False] * len(rows) if ended is None else ended[place].tolist()
        return Done(jobs, self.book.take(place), self.t[place].tolist(), over, rows)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a is b or a.tolist() == b.tolist()
