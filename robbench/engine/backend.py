"""Another package's attack on one chunk of samples, its results in the form of our own attacks'."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.core.tiles import Tiles
from robbench.engine.counter import Counter
from robbench.engine.records import Attempt
from robbench.engine.schedule import Trial
from robbench.engine.verify import verify
from robbench.threat.problem import Problem


def attempts_of(
    attack: Backend,
    model: nn.Module,
    p: Problem,
    samples: Sequence[int],
    trial: Trial,
    *,
    seed: int,
    tiles: Tiles,
) -> list[Attempt]:
    """Run a backend on the problems of some samples and judge what it returns.

    Its queries cannot be attributed to samples, so each has an equal share of them.
    """
    counter = Counter(model)
    x = _points(attack, counter, p, seed).detach()
    n_forward, n_backward = (
        _shares(n, len(samples)) for n in (counter.n_forward, counter.n_backward)
    )
    judged = verify(model, x, p, tiles).rows()
    return [
        Attempt(
            sample=sample,
            trial=trial,
            x=x[row],
            judged=judged[row],
            margin=judged[row].margin,
            n_forward=n_forward[row] + 1,
            n_backward=n_backward[row],
            n_nonfinite=int(math.isnan(judged[row].margin)),
            shown=not torch.equal(x[row], p.x0[row]),
        )
        for row, sample in enumerate(samples)
    ]


def _points(attack: Backend, counter: Counter, p: Problem, seed: int) -> Tensor:
    """What a backend makes of the problems p.

    It knows of no fixed entries. So where there are some, it has the samples one by one, and asks a
    model that sees the clean input's in their place.
    """
    if p.free is None:
        return attack.run(counter, p, seed=seed)
    found = []
    for row in range(len(p)):
        one = p.take(slice(row, row + 1))
        found.append(one.held(attack.run(_Holding(counter, one), one, seed=seed)))
    return torch.cat(found)


class _Holding(nn.Module):
    """A model that sees the fixed entries of one problem, whatever it is asked."""

    def __init__(self, model: nn.Module, p: Problem) -> None:
        super().__init__()
        self.model = model
        self.p = p
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(self.p.held(x))
        return logits


def _shares(count: int, n: int) -> list[int]:
    """`count` as a sum of n numbers that differ by 1 at most, the larger ones first."""
    return [count // n + (row < count % n) for row in range(n)]
