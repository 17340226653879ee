"""What the tests of attacks share: problems from tensors, and a lane driven to its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

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


SHAPE, CLASSES = (3, 4, 4), 5


DUAL = {"linf": 1, "l2": 2, "l1": math.inf}


class Linear(nn.Module):
    """z = W (x - 1/2), inputs in the middle of the box: boundary distances have a closed form."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(48, classes)
        with torch.no_grad():
            self.layer.weight.copy_(
                torch.randn(classes, 48, generator=torch.Generator().manual_seed(3))
            )
            self.layer.bias.copy_(-self.layer.weight.sum(1) / 2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x.flatten(1))
        return logits

    def distances(self, x: Tensor, y: Tensor, norm: str) -> Tensor:
        """[B]: to the nearest class boundary."""
        with torch.no_grad():
            gaps = self(x).gather(1, y[:, None]) - self(x)
            slopes = (self.layer.weight[None] - self.layer.weight[y][:, None]).norm(
                p=DUAL[norm], dim=2
            )
        return (gaps / slopes).scatter(1, y[:, None], math.inf).amin(1)


@pytest.fixture
def linear(problem: Callable[..., Problem]) -> Callable[..., tuple[Linear, Problem, Tensor]]:
    """A linear model, rows to attack at one budget (the middle distance), and the distances."""

    def make(
        norm: str, eps: float | None = None, n: int = 12, classes: int = CLASSES
    ) -> tuple[Linear, Problem, Tensor]:
        model = Linear(classes)
        x = 0.45 + 0.1 * torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))
        y = model(x).argmax(1)
        distances = model.distances(x, y, norm) if norm in DUAL else torch.full((n,), torch.nan)
        budget = (
            float(distances.sort().values[n // 2 - 1 : n // 2 + 1].mean()) if eps is None else eps
        )
        return model, problem(model, x, y, torch.full((n,), budget), norm), distances

    return make
