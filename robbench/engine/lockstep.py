"""An attack on one fixed batch, all rows at the same step: adversarial training's inner one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import AnyRowAttack, Oracle, state_of
from robbench.core.rows import nowhere
from robbench.core.tiles import Model, Tiles
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.objectives import RowObjective, answered
from robbench.threat.problem import Problem, size_and_fits


class Adversarial(NamedTuple):
    """Where an attack's last move took each row."""

    x: Tensor  # [B,*]
    survived: (
        Tensor  # [B] int64: steps before the first misclassified point, `steps` if there was none
    )
    steps: int


class _FirstHits(ModelOracle):
    """An oracle that books when a row was first misclassified, and nothing else: nobody reads it.

    Training makes no other use of a book, which takes as long as the rest of a step.
    """

    margins = Oracle.margins

    def _hits(self, x: Tensor, logits: Tensor, wrong: Tensor, bad: Tensor | None = None) -> Tensor:
        hit = wrong & answered(logits)
        fresh = hit & ~self.book.found
        if not nowhere(fresh):
            _, counts = size_and_fits(x, self.p, among=fresh)
            book = self.book.where(counts, first=self.t)
            self.book = book.replace(found=book.found | counts)
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
    mode chosen (`core/freeze.py`).
    """
    tiles = Tiles(max(len(p), 1), step=1)
    oracle = _FirstHits(model, tiles, draws=attack.draws, objective=objective)
    state = state_of(attack, "start", attack.start(p))
    book, t = blank_book(p), torch.zeros_like(p.y)
    everyone = torch.ones_like(p.y, dtype=torch.bool)
    for _ in range(attack.steps):
        moved, book = oracle.step(attack, state, p, book, t, everyone, attack.steps)
        going = everyone if beyond is None else (book.first < 0) | (t < book.first + beyond)
        state, t = moved if beyond is None else moved.choose(going, state), t + 1
    first = book.first
    return Adversarial(
        attack.point(state).detach(), torch.where(first < 0, attack.steps, first), attack.steps
    )
