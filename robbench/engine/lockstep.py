"""An attack on one fixed batch, all rows at the same step: adversarial training's inner one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import Answer, AnyRowAttack, Oracle, state_of
from robbench.core import fused
from robbench.core.errors import UserError
from robbench.core.rows import finite_sum
from robbench.core.tiles import Model, Tiles
from robbench.engine.oracle import ModelOracle, slopes
from robbench.objectives import Objective, RowObjective, answered
from robbench.threat.problem import Problem


class Adversarial(NamedTuple):
    """Where an attack's last move took each row."""

    x: Tensor  # [B,*]
    survived: (
        Tensor  # [B] int64: steps before the first misclassified point, `steps` if there was none
    )
    steps: int


class _Standing(ModelOracle):
    """An oracle that notes which rows have not been misclassified yet, and keeps no book.

    Training makes no use of a book, which takes as long as the rest of a step. All rows move at
    every step, so that a question without `need` is one of all rows at once.
    """

    margins = Oracle.margins

    def __init__(
        self, model: Model, p: Problem, draws: int, objective: RowObjective | None
    ) -> None:
        super().__init__(model, Tiles(max(len(p), 1), step=1), draws, objective)
        self.p = p
        self.active = self.moves = self.standing = torch.ones_like(p.y, dtype=torch.bool)
        self.least, self.forwards = torch.zeros_like(p.eps), torch.zeros_like(p.y)  # see `_hits`

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        if need is not None:
            return super().grad(x, objective, need)
        p, climbed = self.p, objective if self.objective is None else self.objective
        logits, *votes, value, grad = self._gradients(
            x, p.aim, lambda logits, leaf: slopes(climbed, p, logits, leaf, needed=True)
        )
        grad, hit = self._settle(x, logits, votes, grad, self.moves, 1)
        return Answer(logits, value, grad, hit)

    def _settle(
        self, x: Tensor, logits: Tensor, votes: list[Tensor], grad: Tensor, moves: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        grad = self.p.movable(grad)
        if not finite_sum(grad):
            grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)
        return grad, self._hits(x, logits, votes)

    def _hits(
        self, x: Tensor, logits: Tensor, votes: list[Tensor], bad: Tensor | None = None
    ) -> Tensor:
        p, found = self.p, None
        if not votes and fused.fusable(logits):
            marks = self.active, self.least, self.forwards
            found = fused.look(logits, p.aim, p.targeted, *marks)
        hit = self._success(logits, votes) if found is None else found[1]
        if found is None and not finite_sum(logits):
            hit = hit & answered(logits)
        self.standing = self.standing > hit  # and not hit
        return hit


def lockstep(
    attack: AnyRowAttack,
    model: Model,
    p: Problem,
    beyond: int | None = None,
    objective: RowObjective | None = None,
) -> Adversarial:
    """Make `attack.steps` moves from the start.

    That many forwards and backwards per row; none checks the last point. With `beyond`, a row stays
    where so many moves after its first misclassified point have taken it. With `objective`, of the
    rows of `p`, it climbs that in place of its own. The model's weights should be frozen and its
    mode chosen (`core/freeze.py`). Raises UserError where the attack gives no points of that shape.
    """
    oracle = _Standing(model, p, attack.draws, objective)
    state = state_of(attack, "start", attack.start(p))
    t, survived = torch.zeros_like(p.y), torch.zeros_like(p.y)
    for _ in range(attack.steps):
        moved = state_of(attack, "step", attack.step(state, t, p, oracle))
        survived += oracle.standing
        state = moved if beyond is None else moved.choose(t < survived + beyond, state)
        t = t + 1
    x: object = attack.point(state)
    if not isinstance(x, Tensor) or x.shape != p.x0.shape:
        found = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UserError(
            f"attack {type(attack).__qualname__}: its point returned {found}, not the rows' points,"
            f" a tensor of shape {tuple(p.x0.shape)}"
        )
    return Adversarial(x.detach(), survived, attack.steps)
