"""EOT: Athalye, Carlini and Wagner 2018, arXiv:1802.00420, section 4.2.

See also Athalye et al. 2018, arXiv:1707.07397.

Against a model f_r that draws random numbers r, an attack should climb the expectation: grad
E_r[J(f_r(x))], estimated as the mean of the gradients of some draws at the same point. Every query
of the inner attack is put to the model `draws` times.

Success is by majority: a point counts as misclassified when more than half of the draws of one
query say so (of an even number a tie is no success), and logits, objective values and gradients are
the means over the same draws. Others average the gradients only and take loss and success from the
last draw, which books a lucky draw as a success; the same holds for which samples count as correct
before the attack, so those are judged by a majority too.

A random model's own numbers are not tied to samples: the same run at another batch width sees other
draws.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import Field
from torch import Tensor, nn

from robbench.attacks.base import AnyRowAttack, Attack, Oracle
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.core.rows import Rows
from robbench.threat.problem import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wrapper(Attack[Any]):
    """The base of attacks that run another one: `inner`, of the spec `attack`."""

    attack: Annotated[
        str, Field(description="the attack to run, with its options in parentheses")
    ] = "apgd"
    inner: AnyRowAttack = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inner, canonical = ATTACKS.build(self.attack), ATTACKS.canonical(self.attack)
        if not isinstance(inner, Attack):
            raise UserError(
                f"attack {canonical} is a whole attack of another package; only our own can run "
                "inside another"
            )
        if inner.leaves_ball:
            raise UserError(
                f"attack {canonical} leaves the budget, so it is an inner attack of training and "
                "cannot run inside another"
            )
        self._refuse(inner, canonical)
        self._set(attack=canonical, inner=inner)
        self._set(norms=inner.norms, goal=inner.goal, access=inner.access, steps=inner.steps)
        self._set(objective=inner.objective, restarts=inner.restarts)

    def _refuse(self, inner: AnyRowAttack, spec: str) -> None:
        """Raises UserError when this attack makes no sense inside."""

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            # What follows from the options is settled once, in spite of `frozen`.
            object.__setattr__(self, name, value)

    @property
    def can_target(self) -> bool:
        return self.inner.can_target

    @property
    def anchored(self) -> bool:
        return self.inner.anchored

    @property
    def draws(self) -> int:
        return self.inner.draws

    @property
    def others(self) -> tuple[nn.Module, ...]:
        return self.inner.others

    def equip(self, find: Callable[[str], nn.Module]) -> Self:
        equipped = copy.copy(self)
        equipped._set(inner=self.inner.equip(find))
        return equipped

    @property
    def kinds(self) -> frozenset[str]:
        return self.inner.kinds

    def gradients(self, classes: int) -> int:
        return self.inner.gradients(classes)

    def adapted(self, classes: int) -> list[str]:
        return self.inner.adapted(classes)

    def variants(self, classes: int) -> int:
        return self.inner.variants(classes)

    def vary(self, p: Problem, k: Tensor) -> Problem:
        return self.inner.vary(p, k)

    def preparation(self, classes: int) -> tuple[int, int]:
        return self.inner.preparation(classes)

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        return self.inner.prepare(p, q)

    def start(self, p: Problem) -> Rows:
        state: Rows = self.inner.start(p)
        return state

    def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
        return self.inner.step(s, t, p, q)

    def point(self, s: Any) -> Tensor:
        return self.inner.point(s)

    def done(self, s: Any) -> Tensor | None:
        return self.inner.done(s)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EOT(Wrapper):
    """An attack on the mean of a random model's draws (Athalye et al. 2018, arXiv:1802.00420).

    It succeeds where the majority of the draws is wrong.

    Every query costs `draws` forwards and backwards.
    """

    draws: Annotated[
        int, Field(ge=1, le=10_000, description="how often each point is put to the model")
    ] = 20

    @property
    def kinds(self) -> frozenset[str]:
        return self.inner.kinds | ({"eot"} if self.draws > 1 else set())

    def _refuse(self, inner: AnyRowAttack, spec: str) -> None:
        if inner.draws > 1:
            raise UserError(
                f"attack {spec} already averages over draws of the model: nest eot once"
            )
