"""An attack that walks along a ray, and a model that draws a line across it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack, AttackEntry, Oracle
from robbench.core.rows import Rows
from robbench.threat.problem import Problem


class Walk(Rows):
    """Where a row stands."""

    x: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder(Attack[Walk]):
    """Adds given amounts to every pixel, one after the other; each variant has its own."""

    rungs: tuple[tuple[float, ...], ...]

    @property
    def steps(self) -> int:  # type: ignore[override]
        return len(self.rungs[0])

    def variants(self, classes: int) -> int:
        return len(self.rungs)

    def vary(self, p: Problem, k: Tensor) -> Problem:
        return p.replace(target=k)

    def start(self, p: Problem) -> Walk:
        return Walk(x=p.x0)

    def step(self, s: Walk, t: Tensor, p: Problem, q: Oracle) -> Walk:
        q.logits(s.x)
        rungs = torch.tensor(self.rungs)
        amount = rungs[p.target.clamp(0, len(rungs) - 1), t.clamp(0, self.steps - 1)]
        return Walk(x=p.x0 + amount.reshape(-1, 1, 1, 1))

    def point(self, s: Walk) -> Tensor:
        return s.x


class Line(nn.Module):
    """Class 1 where the first pixel is above a line."""

    def __init__(self, line: float) -> None:
        super().__init__()
        self.line = line

    def forward(self, x: Tensor) -> Tensor:
        z = x[:, 0, 0, 0] - self.line + 0 * x.flatten(1).sum(1)
        return torch.stack([-z, z], 1)


def ladder(*rungs: tuple[float, ...]) -> AttackEntry:
    """A ladder with these variants, as an entry of a cascade."""
    return AttackEntry(f"ladder{rungs}", Ladder(rungs=rungs))
