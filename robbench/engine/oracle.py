"""The only door to the model: it answers, counts, and books each row's worst point.

The model is evaluated in tiles of shapes that agree (see `core/tiles.py`), so that a row's answer
does not depend on how many others are in flight, nor on whether these want a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robbench.attacks.base import Answer, AnyRowAttack, Oracle, state_of
from robbench.core import fused
from robbench.core.gradients import column_gradients, pulled_back
from robbench.core.rows import ALL, Rows, finite, nowhere, pick
from robbench.core.tiles import Model, Tiles
from robbench.objectives import Objective, answered, at_rows, margins_left
from robbench.slopes import slope_of
from robbench.threat.problem import Problem, size_and_fits, succeeds

RowIndex = slice | Tensor  # which rows
Ask = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # of logits and leaf: values and gradients


class Book(Rows):
    """What is known of each row: the ledger the attack cannot write to."""

    found: Tensor  # [B] bool: a success inside box and budget was seen
    first: Tensor  # [B] int64: the step it was seen at, -1 before
    x: Tensor  # [B,*] worst point: lowest margin inside the budget; the smallest hit without one
    margin: Tensor  # [B] its logit margin
    size: Tensor  # [B] its size in the threat's norm
    n_forward: Tensor  # [B] int64
    n_backward: Tensor  # [B] int64
    n_nonfinite: Tensor  # [B] int64: answers with NaN or inf in logits or gradient
    n_zero_gradient: Tensor  # [B] int64: gradients that were exactly zero


def blank_book(p: Problem) -> Book:
    """The book of fresh rows: nothing seen."""
    zero, inf = torch.zeros_like(p.y), torch.full_like(p.eps, torch.inf)
    return Book(
        found=zero.bool(),
        first=zero - 1,
        x=p.x0.clone(),  # loops write into books
        margin=inf,
        size=inf.clone(),
        n_forward=zero.clone(),
        n_backward=zero.clone(),
        n_nonfinite=zero,
        n_zero_gradient=zero,
    )


class ModelOracle(Oracle):
    """Answers for one lane; `bind` says which rows ask: those `active` [B] are counted and booked.

    `draws`: how often each point is put to the model; logits, values and gradients are averaged,
    and a point is misclassified if most draws say so. `objective`: what gradients are of, whatever
    is asked for; None = as asked.
    """

    def __init__(
        self, model: Model, tiles: Tiles, draws: int = 1, objective: Objective | None = None
    ) -> None:
        self.model, self.tiles, self.draws, self.objective = model, tiles, draws, objective

    def step(
        self,
        attack: AnyRowAttack,
        state: Rows,
        p: Problem,
        book: Book,
        t: Tensor,
        active: Tensor,
        steps: Tensor | int | None,
    ) -> tuple[Rows, Book]:
        """One step of an attack: the rows' next state, and their book with what it asked."""
        self.bind(p, book, t, active, steps)
        moved = state_of(attack, "step", attack.step(state, t, p, self))
        return moved, self.book

    def bind(
        self, p: Problem, book: Book, t: Tensor, active: Tensor, steps: Tensor | int | None
    ) -> None:
        """The rows that ask next; a row at its last step (t == steps) needs no gradient.

        steps None: none is at its last.
        """
        self.p, self.book, self.t, self.active = p, book, t, active
        self.moves = active if steps is None else active & (t < steps)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, *votes = self._all_values(x)
        return logits, self._hits(x, logits, votes)

    def margins(self, x: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
        logits, *votes = self._all_values(x)
        hit, margin = self._see(x, logits, votes)
        return margin, hit

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        moves = self.moves if need is None else self.moves & need
        climbed = objective if self.objective is None else self.objective

        def tile(rows: RowIndex, needed: bool) -> tuple[Tensor, ...]:
            p, own = self.p.take(rows), at_rows(climbed, rows)
            return self._gradients(
                _at(x, rows), p.aim, lambda logits, leaf: slopes(own, p, logits, leaf, needed)
            )

        logits, *votes, value, grad = self._ask(x.shape[0], moves, tile)
        grad, hit = self._settle(x, logits, votes, grad, moves, 1)
        return Answer(logits, value, grad, hit)

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        k = classes.shape[1]
        moves = self.moves if need is None else self.moves & need

        def tile(rows: RowIndex, needed: bool) -> tuple[Tensor, ...]:
            def columns(logits: Tensor, leaf: Tensor) -> tuple[Tensor, Tensor]:
                values = logits.gather(1, _at(classes, rows))
                return values.detach(), column_gradients(
                    values if needed else values.detach(), leaf
                )

            *seen, _, grad = self._gradients(_at(x, rows), _at(self.p.aim, rows), columns)
            return *seen, grad

        logits, *votes, grad = self._ask(x.shape[0], moves, tile, k)
        grad, hit = self._settle(x, logits, votes, grad, moves, k)
        return logits, grad, hit

    # -- one tile

    def _values(self, x: Tensor, aim: Tensor) -> tuple[Tensor, ...]:
        """Mean logits of the draws; of several draws also whether most of them are successes."""
        with torch.no_grad():
            drawn = [self.model(x) for _ in range(self.draws)]
        return _mean(drawn), *self._votes(drawn, aim)

    def _gradients(self, x: Tensor, aim: Tensor, ask: Ask) -> tuple[Tensor, ...]:
        """As `_values`, then values and gradients of what is asked."""
        drawn = []
        for _ in range(self.draws):
            # Always with a graph: some layers round otherwise without one, and a row's neighbours
            # must not decide that.
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = self.model(leaf)
                value, grad = ask(logits, leaf)
            drawn.append((logits.detach(), value, grad))
        votes = self._votes([logits for logits, _, _ in drawn], aim)
        logits, value, grad = (_mean(column) for column in zip(*drawn, strict=True))
        return logits, *votes, value, grad

    def _votes(self, drawn: Sequence[Tensor], aim: Tensor) -> list[Tensor]:
        if len(drawn) == 1:
            return []
        votes = [succeeds(logits.argmax(1), aim, self.p.targeted) for logits in drawn]
        return [2 * torch.stack(votes).sum(0) > len(votes)]

    def _success(self, logits: Tensor, votes: Sequence[Tensor]) -> Tensor:
        p = self.p
        return votes[0] if votes else succeeds(logits.argmax(1), p.aim, p.targeted)

    # -- all rows

    def _all_values(self, x: Tensor) -> list[Tensor]:
        aim = self.p.aim
        return self._ask(
            x.shape[0], None, lambda rows, _: self._values(_at(x, rows), _at(aim, rows))
        )

    def _ask(
        self,
        n: int,
        moves: Tensor | None,
        tile: Callable[[RowIndex, bool], tuple[Tensor, ...]],
        k: int = 1,
    ) -> list[Tensor]:
        """The answers of all n rows, tile by tile.

        Zeros for idle rows, and for gradients that cost more than they are worth. `k`: backwards of
        a row that wants a gradient.
        """
        if moves is not None and nowhere(moves):
            moves = None  # no row wants a gradient
        if self._all_alike(n, moves, k):
            if n <= self.tiles.rows:
                return list(tile(ALL, moves is not None))
            size = self.tiles.even(n)
            parts = [tile(slice(i, min(i + size, n)), moves is not None) for i in range(0, n, size)]
            return [torch.cat(column) for column in zip(*parts, strict=True)]
        groups = (
            [(self.active, False)]
            if moves is None
            else [(self.active & ~moves, False), (moves, True)]
        )
        answers: list[Tensor] = []
        for mask, needed in groups:
            for rows, real in self.tiles.split(mask.nonzero()[:, 0]):
                columns = tile(rows, needed)
                if not answers:
                    answers = [column.new_zeros((n, *column.shape[1:])) for column in columns]
                for answer, column in zip(answers, columns, strict=True):
                    answer[rows[:real]] = column[:real]
        return answers

    def _all_alike(self, n: int, moves: Tensor | None, k: int) -> bool:
        """Whether all rows can be asked the same at no more cost than only those that matter."""
        # Asking a GPU who wants a gradient would make the host wait for it, which costs more than
        # one gradient too many.
        if not self.active.is_cpu or n != self.tiles.padded(n):
            return n == self.tiles.padded(n)
        live, padded = self.active.tolist().count(True), self.tiles.padded
        if moves is None:
            return n == padded(live)
        # A backward costs about as much as a forward, and each group is padded to whole tiles.
        wanting = moves.tolist().count(True)
        return (1 + k) * n <= (1 + k) * padded(wanting) + padded(live - wanting)

    def _settle(
        self, x: Tensor, logits: Tensor, votes: list[Tensor], grad: Tensor, moves: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        grad = self.p.movable(grad)
        each, n_backward, loops = self.draws * k, self.book.n_backward, fused.fusable(grad)
        if loops and fused.plain(grad, moves, n_backward, each):
            return grad, self._hits(x, logits, votes)
        flat = grad.flatten(1)
        top = torch.maximum(flat.amax(1), -flat.amin(1))  # the largest absolute entry
        bad = ~(top < torch.inf)
        hit = self._hits(x, logits, votes, moves & bad)
        self.book = self.book.replace(
            n_zero_gradient=self.book.n_zero_gradient + (moves & (top == 0)),
            n_backward=n_backward if loops else n_backward.add(moves, alpha=each),
        )
        return grad if nowhere(bad) else torch.nan_to_num(grad, 0.0, 0.0, 0.0), hit

    def _hits(
        self, x: Tensor, logits: Tensor, votes: list[Tensor], bad: Tensor | None = None
    ) -> Tensor:
        """Book what was asked, and give the hits [B]; `bad` as of `_see`."""
        return self._see(x, logits, votes, bad)[0]

    def _see(
        self, x: Tensor, logits: Tensor, votes: list[Tensor], bad: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Book what was asked: hits [B], and the margins left [B]. `bad` [B]: no gradient came."""
        p, book = self.p, self.book
        if bad is None and (seen := self._looked(x, logits)) is not None:
            return seen
        hit, may, odd = self._success(logits, votes), self.active, bad
        margin = margins_left(logits, p.aim, p.targeted)
        if not finite(margin):  # else every logit is an answer
            known = answered(logits)
            hit, may = hit & known, self.active & known  # a NaN is no proof of a mistake
            odd = ~known if bad is None else bad | ~known
        if odd is not None:
            book = book.replace(n_nonfinite=book.n_nonfinite + (self.active & odd))
        self.book = book.replace(n_forward=book.n_forward.add(self.active, alpha=self.draws))
        may = may & (hit | (margin < book.margin))
        if not nowhere(may):
            self._keep(x, margin, hit, may)
        return hit, margin

    def _looked(self, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """As `_see` of answers that are finite, in loops; None where they do not do it."""
        p, book, active = self.p, self.book, self.active
        if self.draws > 1 or not (fused.fusable(logits) and p.ball.fusable(x, book.x)):
            return None
        found = fused.look(logits, p.aim, p.targeted, active, book.margin, book.n_forward)
        if found is None:
            return None
        margin, hit, count = found
        booked = book.found, book.first, book.x, book.margin, book.size
        if count and fused.keep(x, margin, hit, active, p.x0, p.eps, self.t, booked):
            self.book = book.replace(found=book.found.clone())  # another one says: there are new
        return hit, margin

    def _keep(self, x: Tensor, margin: Tensor, hit: Tensor, may: Tensor) -> None:
        """Book the points of the rows `may` that are inside the budget and worse than before."""
        p, book = self.p, self.book
        size, counts = size_and_fits(x, p, among=may)
        new = counts & hit
        if nowhere(new):  # only lower margins, which without a budget do not count
            better = counts if finite(p.eps) else counts & (p.eps < torch.inf)
        else:  # also where margins tie: argmax decides, and this is the point to keep
            first, nearer = hit & ~book.found, hit & (size < book.size)
            better = counts & pick(p.eps == torch.inf, nearer, first | (margin < book.margin))
            book = book.where(new & ~book.found, first=self.t).replace(found=book.found | new)
        kept = book.where(better, x=x, margin=margin, size=size)
        self.book = kept.replace(x=x.clone()) if kept.x is x else kept  # loops write into books


def _at(values: Tensor, rows: RowIndex) -> Tensor:
    return values if rows is ALL else values[rows]


def slopes(
    objective: Objective, p: Problem, logits: Tensor, leaf: Tensor, needed: bool
) -> tuple[Tensor, Tensor]:
    """Values [B] and gradients [B,*] of an objective; zeros unless needed."""
    if not needed:
        return objective(logits.detach(), p), torch.zeros_like(leaf)
    if (slope := slope_of(objective, p, logits.shape[1])) is not None:
        value, seeds = slope(logits.detach(), p)
        return value, pulled_back(logits, seeds, leaf)
    value = objective(logits, p)
    return value.detach(), column_gradients(value[:, None], leaf)[:, 0]


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(0)


def forward_tiles(model: Model, x: Tensor, tiles: Tiles) -> Tensor:
    """Logits [B,K] without gradient, in the oracle's shapes."""
    with torch.no_grad():
        return (
            torch.cat([model(tile)[:real] for tile, real in tiles.split(x)]) if len(x) else model(x)
        )
