"""What the tests of attacks share: problems from tensors, and a lane driven to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from robbench.core.tiles import Tiles
from robbench.engine.lane import Job, Lane
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem


class Ending(NamedTuple):
    """The outcome of one sample: the variant that broke it (None: robust), at which step, where."""

    variant: int | None
    step: int
    x: Tensor
    margin: float


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Rows to attack, from clean inputs, labels, budgets and a model."""

    def make(
        model: Callable[[Tensor], Tensor],
        x0: Tensor,
        y: Tensor,
        eps: Tensor,
        norm: str,
        seed: int = 0,
    ) -> Problem:
        rows = torch.arange(len(x0))
        with torch.no_grad():
            logits0 = model(x0)
        return Problem(
            x0=x0,
            y=y,
            target=torch.full_like(rows, -1),
            eps=eps,
            key=rows * 1_000_003 + seed,
            index=rows,
            logits0=logits0,
            norm=NORMS[norm],
        )

    return make


@pytest.fixture
def conquer() -> Callable[..., list[Ending]]:
    """Runs an attack's variants over a problem's rows, one after the other, in a refilled lane."""

    def run(
        attack: Any, model: Callable[[Tensor], Tensor], p: Problem, width: int = 16
    ) -> list[Ending]:
        lane = Lane(
            attack,
            model,
            lambda jobs: p.take(torch.tensor([job.sample for job in jobs])),
            width=width,
            tiles=Tiles(32, 8),
            device=torch.device("cpu"),
        )
        lane.queue.extend(Job(i, 0) for i in range(len(p)))
        endings: list[Any] = [None] * len(p)
        count = attack.variants(p.logits0.shape[1])
        while lane.waiting:
            done = lane.step()
            for row, job in enumerate(done.jobs if done else ()):
                book = done.book.take(slice(row, row + 1))
                found = bool(book.found)
                endings[job.sample] = Ending(
                    job.variant if found else None, int(book.first), book.x[0], float(book.margin)
                )
                if not found and job.variant + 1 < count:
                    lane.queue.append(Job(job.sample, job.variant + 1))
        return endings

    return run
