"""The inner maximisation of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor

from robbench.attacks.base import AnyRowAttack
from robbench.core.errors import UserError
from robbench.threat.model import ThreatModel
from robbench.threat.norms import BOX
from robbench.threat.problem import Problem, size_and_fits


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner attack of a recipe, its threat model, and the model's mode while it runs.

    Published codes differ in the mode (eval in TRADES and MART, train in Rice et al.), so it is
    part of the recipe.
    """

    attack: AnyRowAttack
    threat: ThreatModel
    mode: Literal["eval", "train"] = "eval"
    # Share of training over which eps grows from 0: full strength at once can stall (MNIST at 0.3).
    warmup: float = 0.0
    # Steps of a row after its first mistake; None = all (Zhang et al. 2020, arXiv:2002.11242).
    beyond: int | None = None
    free: Tensor | None = None  # [*] bool: the entries it may change; None = all of them

    def eps(self, progress: float) -> float:
        """The budget when a share `progress` of training is done."""
        return self.threat.eps * (min(1.0, progress / self.warmup) if self.warmup else 1.0)


def require_inside(attack: AnyRowAttack, x: Tensor, p: Problem) -> None:
    """Raise UserError where points x [B,*] of an attack are outside of ball or box.

    Not of an attack that leaves the ball on purpose, such as that of N-FGSM.
    """
    if attack.leaves_ball:
        return
    size, inside = size_and_fits(x, p)
    if bool(inside.all()):
        return
    out = ~inside
    raise UserError(
        f"attack {type(attack).__qualname__}: {int(out.sum())} of {len(x)} points of a batch are "
        f"outside of the threat model, of sizes up to {float(size[out].max()):.4g} where eps is "
        f"{float(p.eps[out].max()):.4g}, with entries from {float(x[out].min()):.4g} to "
        f"{float(x[out].max()):.4g} where the box is [{BOX[0]:g}, {BOX[1]:g}]"
        + ("" if p.free is None else " and some are fixed")
        + "; end its step with p.ball.project(x)"
    )
