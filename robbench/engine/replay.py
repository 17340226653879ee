"""Stored points of another run, tried before any attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.pool import Pool
from robbench.engine.records import Record
from robbench.engine.verify import verify
from robbench.threat.tolerance import fits


def replay_points(
    model: Model,
    pool: Pool,
    points: Mapping[int, Tensor],
    records: Sequence[Record],
    tiles: Tiles,
    width: int,
    draws: int,
) -> Iterator[None]:
    """Ask the model once about points of samples, a batch at a time, and record what breaks one.

    The sample is broken from the first budget on that holds its point.
    """
    known = list(points)
    for start in range(0, len(known), width):
        chunk = known[start : start + width]
        x = torch.stack([points[i] for i in chunk]).to(pool.split.labels.device)
        p = pool.problem(torch.tensor(chunk, device=x.device))
        for i, point, seen in zip(chunk, x, verify(model, x, p, tiles, draws).rows(), strict=True):
            records[i].n_forward += draws
            if seen.adversarial:
                holds = (n for n, threat in enumerate(pool.threats) if fits(seen.size, threat.eps))
                records[i].replayed = (next(holds, len(pool.threats) - 1), point, seen)
        yield
