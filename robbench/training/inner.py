"""The inner maximisation of a recipe."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor

from robbench.attacks.base import AnyRowAttack
from robbench.threat.model import ThreatModel


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
