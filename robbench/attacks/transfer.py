"""Transfer: Papernot, McDaniel and Goodfellow 2016, arXiv:1605.07277.

See also Liu et al. 2017, arXiv:1611.02770.

An attack that sees another model only: it moves by the gradients of a source model, and each point
it comes to is put to the target, which answers once, with a forward. Not only the last point, as
usual, but every one may be the success.

What is counted are the target's queries: what the source answers (its logits at the clean input,
which choose the targets of a targeted attack, included) is free. The inner attack believes what the
source says: it does not hear the target.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from robbench.attacks.base import Answer, AnyRowAttack, Oracle
from robbench.attacks.eot import Wrapper
from robbench.core.access import NEEDS, access_of, shows
from robbench.core.errors import UserError
from robbench.core.gradients import column_gradients
from robbench.core.tiles import largest_tile, row_equality
from robbench.objectives import Objective, answered, at_rows, temperatures
from robbench.threat.problem import Problem, succeeds

Values = Callable[[Tensor, Tensor], Tensor]  # of logits [b,K] of the rows [b]: [b,k]


class Source(Oracle):
    """Asks the source model, in tiles whose answers agree; keeps the point, counts nothing."""

    x: Tensor

    def __init__(self, model: nn.Module, p: Problem) -> None:
        self.model, self.p = model, p
        tiles = largest_tile(p.x0.device, p.x0.shape[1:])
        self.tiles = tiles._replace(step=row_equality(model, p.x0[: tiles.rows]).step)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, _, _ = self._ask(x, None)
        return logits, self._wrong(logits)

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        logits, value, grad = self._ask(
            x, lambda logits, rows: at_rows(objective, rows)(logits, self.p.take(rows))[:, None]
        )
        return Answer(logits, value[:, 0], grad[:, 0], self._wrong(logits))

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, _, grad = self._ask(x, lambda logits, rows: logits.gather(1, classes[rows]))
        return logits, grad, self._wrong(logits)

    def _wrong(self, logits: Tensor) -> Tensor:
        return succeeds(logits.argmax(1), self.p.aim, self.p.targeted) & answered(logits)

    def _ask(self, x: Tensor, values: Values | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B,K], k `values` [B,k] of them and the gradients [B,k,*]; else k is 0."""
        self.x = x
        tiles = self.tiles.split(torch.arange(len(x), device=x.device))
        columns = zip(*(self._tile(x, rows, real, values) for rows, real in tiles), strict=True)
        logits, value, grad = (torch.cat(column) for column in columns)
        return logits, value, self.p.movable(torch.nan_to_num(grad, 0.0, 0.0, 0.0))

    def _tile(
        self, x: Tensor, rows: Tensor, n: int, values: Values | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        leaf = x[rows].detach().float().requires_grad_(values is not None)  # as its users run it
        with torch.set_grad_enabled(values is not None):
            logits: Tensor = self.model(leaf)
            value = values(logits, rows) if values else logits[:, :0]
        grad = column_gradients(value, leaf)
        return logits.detach()[:n].to(x), value.detach()[:n].to(x), grad[:n].to(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Wrapper):
    """An attack on another model, whose points are tried on this one.

    Papernot et al. 2016, arXiv:1605.07277.

    Only this model's queries are counted.
    """

    source: Annotated[
        str,
        Field(description="the model whose gradients are used, as the command line names models"),
    ]
    attack: Annotated[
        str, Field(description="the attack to run on the source, with its options in parentheses")
    ] = "pgd"
    model: nn.Module | None = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(model=None, access="none")

    @property
    def kinds(self) -> frozenset[str]:
        return self.inner.kinds & {"apgd"} | {"transfer"}

    def gradients(self, classes: int) -> int:
        return 0

    def _refuse(self, inner: AnyRowAttack, spec: str) -> None:
        if inner.draws > 1:
            raise UserError(
                f"attack {spec} draws from a random source: write eot:attack=(transfer:...) for a "
                "random target"
            )
        if isinstance(inner, Transfer):
            raise UserError(f"attack {spec} has a source of its own: name one source")

    def equip(self, find: Callable[[str], nn.Module]) -> Self:
        """With the source model: a frozen copy, so that what else uses that model is left alone."""
        equipped, source = super().equip(find), find(self.source)
        if not shows(access_of(source), self.inner.access):
            raise UserError(
                f"source {self.source} shows no {NEEDS[self.inner.access]}, which {self.attack} "
                "needs of it: name another source, or another attack"
            )
        equipped._set(model=copy.deepcopy(source).eval().requires_grad_(False))
        return equipped

    @property
    def others(self) -> tuple[nn.Module, ...]:
        return (*super().others, *((self.model,) if self.model is not None else ()))

    def preparation(self, classes: int) -> tuple[int, int]:
        return 0, 0  # the source is free

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        if super().preparation(p.logits0.shape[1]) == (0, 0):
            return None
        p = self._at_source(p)
        return super().prepare(p, self._ask_source(p))

    def vary(self, p: Problem, k: Tensor) -> Problem:
        return super().vary(self._at_source(p), k)

    def _at_source(self, p: Problem) -> Problem:
        """With the source's logits at the clean inputs."""
        logits0, _ = self._ask_source(p).logits(p.x0)
        if logits0.shape != p.logits0.shape:
            raise UserError(
                f"source {self.source} knows {logits0.shape[1]} classes, the model "
                f"{p.logits0.shape[1]}"
            )
        temperature = None if p.temperature is None else temperatures(logits0)
        return p.replace(logits0=logits0, temperature=temperature)

    def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
        source = self._ask_source(p)
        moved = super().step(s, t, p, source)
        q.logits(source.x)
        return moved

    def _ask_source(self, p: Problem) -> Source:
        if self.model is None:
            raise UserError(
                f"the source of a transfer, {self.source}, is only known in an attack run, not in "
                "training"
            )
        return Source(self.model, p)
