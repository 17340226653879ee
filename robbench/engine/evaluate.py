"""A model evaluated in one call, in memory: freeze it, run a cascade to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.core.freeze import frozen
from robbench.core.tiles import Model, RowEquality
from robbench.data.base import Split
from robbench.engine.cascade import Cascade
from robbench.engine.records import Verdict
from robbench.threat.model import ThreatModel


class Options(TypedDict, total=False):
    """Of `Cascade`, see there."""

    fast: Model | None
    recheck: bool
    dtype: torch.dtype
    replay: Mapping[int, Tensor] | None
    queries: int
    keep_points: bool


class Evaluated(NamedTuple):
    """What a cascade found."""

    verdicts: list[Verdict]  # by sample, then by budget
    points: dict[tuple[int, int], Tensor]  # worst point by sample and budget, if kept; none = clean
    disagreements: int  # see `Cascade.run`
    equality: RowEquality  # what was measured of the models


def evaluate(
    model: nn.Module,
    split: Split,
    threats: ThreatModel | Sequence[ThreatModel],
    entries: Sequence[AttackEntry],
    *,
    seed: int,
    width: int,
    thorough: bool = True,
    out_of_time: Callable[[], bool] = lambda: False,
    **options: Unpack[Options],
) -> Evaluated:
    """Attack the samples of a split with all entries, at one or several budgets of one norm.

    `width`: rows in flight; verdicts do not depend on it where `equality` says so. `thorough` as in
    `frozen`. After `out_of_time()` the undecided samples are given up as unfinished.
    """
    with frozen(model, thorough=thorough):
        cascade = Cascade(model, split, threats, entries, seed=seed, width=width, **options)
        updates = list(cascade.run(out_of_time=out_of_time))
    verdicts = [verdict for update in updates for verdict in update.verdicts]
    points = [point for update in updates for point in update.points]
    return Evaluated(
        sorted(verdicts, key=lambda v: (v.sample, v.eps_index)),
        {
            (v.sample, v.eps_index): x
            for v, x in zip(verdicts, points, strict=options.get("keep_points", False))
            if x is not None
        },
        updates[-1].disagreements,
        cascade.equality,
    )
