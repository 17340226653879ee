"""What the attacks claim is confirmed by the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.core.tiles import Model, Tiles
from robbench.engine.records import JudgedRow
from robbench.engine.verify import verify
from robbench.threat.problem import Problem

STRETCHES = (1.001, 1.01, 1.1)  # how much farther out a refused point is tried again


class Confirmed(NamedTuple):
    """The re-check of one point."""

    judged: JudgedRow
    x: Tensor  # [*] the point that was judged, perhaps farther out than the one given
    n_forward: int


def confirm(
    model: Model,
    p: Problem,
    x: Tensor,
    claimed: Sequence[bool],
    tiles: Tiles,
    draws: int,
    *,
    stretch: bool,
) -> list[Confirmed]:
    """Judge points x [B,*]; `claimed`: which are said to be adversarial.

    Without a budget the nearest point is so close to the boundary that rounding in a batch of
    another size may decide it. With `stretch`, a claim that is refused is therefore tried again a
    little farther out on the same ray.
    """
    if not len(x):
        return []
    rows = verify(model, x, p, tiles, draws).rows()
    found = [Confirmed(row, point, draws) for row, point in zip(rows, x, strict=True)]
    for factor in STRETCHES if stretch else ():
        refused = [n for n, c in enumerate(found) if claimed[n] and not c.judged.adversarial]
        if not refused:
            break
        q = p.take(torch.tensor(refused, device=x.device))
        farther = q.ball.into_box(q.x0 + factor * (x[refused] - q.x0))
        rows = verify(model, farther, q, tiles, draws).rows()
        for n, row, point in zip(refused, rows, farther, strict=True):
            found[n] = Confirmed(row, point, found[n].n_forward + draws)
    return found
