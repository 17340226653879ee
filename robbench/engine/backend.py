"""Another package's attack on one chunk of samples, its results in the form of our own attacks'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

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
    x = attack.run(counter, p, seed=seed).detach()
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
            shown=not torch.equal(x[row], p.x0[row]),
        )
        for row, sample in enumerate(samples)
    ]


def _shares(count: int, n: int) -> list[int]:
    """`count` as a sum of n numbers that differ by 1 at most, the larger ones first."""
    return [count // n + (row < count % n) for row in range(n)]
