"""The only door to the model: it answers, counts, and books each row's worst point.

The model is evaluated in tiles of one shape (see `core/device.py`), so that a row's answer does not depend on how many
others are in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from robbench.attacks.base import Answer, Oracle
from robbench.core.rows import Rows
from robbench.objectives import Objective, margins
from robbench.threat.problem import Problem, size_and_fits

Model = Callable[[Tensor], Tensor]


class Book(Rows):
    """What is known of each row: the ledger the attack cannot write to."""

    found: Tensor  # [B] bool: a misclassified point inside box and budget was seen
    first: Tensor  # [B] int64: the step it was seen at, -1 before
    x: Tensor  # [B,*] worst point seen: lowest margin, or the smallest hit for minimum-norm attacks
    margin: Tensor  # [B] its logit margin
    size: Tensor  # [B] its size in the threat's norm
    forwards: Tensor  # [B] int64
    backwards: Tensor  # [B] int64
    nonfinite: Tensor  # [B] int64: answers with NaN or inf in logits or gradient


def blank_book(p: Problem) -> Book:
    """The book of fresh rows: nothing seen."""
    zero, inf = torch.zeros_like(p.y), torch.full_like(p.eps, torch.inf)
    return Book(found=zero.bool(), first=zero - 1, x=p.x0, margin=inf, size=inf, forwards=zero, backwards=zero, nonfinite=zero)


class ModelOracle(Oracle):
    """Answers for one lane. `on` says whose rows are asking: those of `active` [B] are counted and booked."""

    def __init__(self, model: Model, tile: int, smallest: bool = False) -> None:
        self.model, self.tile, self.smallest = model, tile, smallest

    def on(self, p: Problem, book: Book, t: Tensor, active: Tensor, steps: int) -> None:
        """Bind the rows that ask next; a row at its last step (t == steps) needs no gradient."""
        self.p, self.book, self.t, self.active = p, book, t, active
        self.moves = active & (t < steps)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits = torch.cat([self.model(x[rows]) for rows in self._tiles(len(x))])
        return logits, self._see(x, logits, torch.zeros_like(self.active))

    def grad(self, x: Tensor, objective: Objective) -> Answer:
        parts = [self._grad_tile(x[rows], self.p.take(rows), objective, self._needs_grad(rows)) for rows in self._tiles(len(x))]
        logits, value, grad = (torch.cat(column) for column in zip(*parts, strict=True))
        bad = ~torch.isfinite(grad.flatten(1)).all(1) & self.moves
        hit = self._see(x, logits, bad)
        self.book = self.book.replace(backwards=self.book.backwards + self.moves)
        return Answer(logits, value, torch.nan_to_num(grad, 0.0, 0.0, 0.0), hit)

    def _grad_tile(self, x: Tensor, p: Problem, objective: Objective, needed: bool) -> tuple[Tensor, Tensor, Tensor]:
        x = x.detach().requires_grad_(needed)
        with torch.set_grad_enabled(needed):
            logits = self.model(x)
            value = objective(logits, p)
        # A model that cuts the graph has no gradient at all; the books show a zero one.
        grad = torch.autograd.grad(value.sum(), x)[0] if value.requires_grad else torch.zeros_like(x)
        return logits.detach(), value.detach(), grad

    def _see(self, x: Tensor, logits: Tensor, bad: Tensor) -> Tensor:
        p, book = self.p, self.book
        finite = torch.isfinite(logits).all(1)
        hit = (logits.argmax(1) != p.y) & finite  # a NaN is no proof of a mistake
        margin, (size, fits) = margins(logits, p.y), size_and_fits(x, p)
        counts = self.active & fits & finite
        first = hit & ~book.found  # also where margins tie: argmax decides, and this is the point to keep
        better = counts & (hit & (size < book.size) if self.smallest else first | (margin < book.margin))
        new = counts & hit
        book = book.where(better, x=x, margin=margin, size=size).where(new & ~book.found, first=self.t)
        self.book = book.replace(
            found=book.found | new,
            forwards=book.forwards + self.active,
            nonfinite=book.nonfinite + (self.active & (bad | ~finite)),
        )
        return hit

    def _needs_grad(self, rows: slice) -> bool:
        # Asking a GPU would make the host wait for it, which costs more than one gradient too many.
        return True if self.moves.is_cuda else bool(self.moves[rows].any())

    def _tiles(self, n: int) -> Iterator[slice]:
        return (slice(i, min(i + self.tile, n)) for i in range(0, n, self.tile))


def forward_tiles(model: Model, x: Tensor, tile: int, step: int) -> Tensor:
    """Logits [B,K] without gradient, in the oracle's shapes: tiles, the last one padded to a multiple of `step`."""
    padded = torch.cat([x, x[:1].expand(-len(x) % step, *x.shape[1:])]) if len(x) else x
    with torch.no_grad():
        parts = [model(padded[i : i + tile]) for i in range(0, max(len(padded), 1), tile)]
    return torch.cat(parts)[: len(x)]
