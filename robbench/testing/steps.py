"""The first steps of an attack, one by one: what it asks in each, and of which shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robbench.attacks.base import Answer, AnyRowAttack, state_of
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.engine.pool import Pool
from robbench.objectives import Objective
from robbench.testing.rules import Require
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem

STEPS = 5  # that are watched
SHAPES = (
    "points are [B,*], one per row; p.eps and t are [B], and lift(p.eps, x) of "
    "robbench.core.rows makes them broadcast"
)


class _Watched(ModelOracle):
    """An oracle that holds a step to one query, of points of the inputs' shape."""

    def __init__(self, model: nn.Module, tiles: Tiles, draws: int, require: Require) -> None:
        super().__init__(model, tiles, draws)
        self.require = require
        self.asked = 0

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._look(x)
        return super().logits(x)

    def margins(self, x: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
        self._look(x)
        return super().margins(x, p)

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        self._look(x)
        return super().grad(x, objective, need)

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        self._look(x)
        return super().jacobian(x, classes, need)

    def _look(self, x: Tensor) -> None:
        require_query(x, self.p, self.require)
        self.asked += 1
        self.require(
            self.asked == 1,
            "a step must query the model once: steps moves take steps + 1 queries, and a new point "
            "is queried by the next step",
        )


def require_points(x: Tensor, x0: Tensor, what: str, require: Require) -> None:
    """Points must have the shape of the inputs x0 [B,*]; `what` begins the message."""
    text = f"{what} of shape {list(x.shape)}, expected [B,*] = {list(x0.shape)}: {SHAPES}"
    require(x.shape == x0.shape, text)


def require_query(x: Tensor, p: Problem, require: Require) -> None:
    """Points queried must be of the inputs' shape and keep fixed entries; NaN is another rule."""
    require_points(x, p.x0, "its step queries points", require)
    require(
        bool(((x == p.held(x)) | x.isnan()).all()),
        "points must keep the entries that are fixed: make them by p.ball, or by p.held(x)",
    )


def check_steps(
    attack: AnyRowAttack, model: nn.Module, split: Split, threat: ThreatModel, require: Require
) -> None:
    """Each of the first steps asks once at most, and gives points of the inputs' shape."""
    tiles = Tiles(len(split), step=1)
    p = Pool.of(split, [threat], model, seed=0, tiles=tiles).problem(torch.arange(len(split)))
    p = attack.vary(p, torch.zeros_like(p.y))
    oracle = _Watched(model, tiles, attack.draws, require)
    everyone, book = torch.ones_like(p.y, dtype=torch.bool), blank_book(p)
    state = state_of(attack, "start", attack.start(p))
    require_points(attack.point(state), p.x0, "its start gives points", require)
    for t in range(min(attack.steps, STEPS) + 1):
        oracle.asked = 0
        state, book = oracle.step(
            attack, state, p, book, torch.full_like(p.y, t), everyone, attack.steps
        )
        require_points(attack.point(state), p.x0, "its step moves to points", require)
