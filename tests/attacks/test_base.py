"""Restarts and targets: which there are, in which order they are tried, and that they differ."""

from __future__ import annotations

import dataclasses
import pydoc
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robbench.attacks.apgd import APGD
from robbench.attacks.base import Answer, AnyAttack, Attack, Oracle
from robbench.attacks.fgsm import FGSM
from robbench.attacks.pgd import PGD
from robbench.core.rows import Rows
from robbench.objectives import Objective
from robbench.threat.problem import Problem

from .linear_rows import linear_model, linear_rows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "attack", [PGD(restarts=4), PGD(restarts=4, init="gaussian"), APGD(restarts=4)]
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_differ(attack: Any, norm: str, problem: Callable[..., Problem]) -> None:
    """Every restart of every sample starts elsewhere in the budget, in any batch."""
    p = linear_rows(problem, 4, norm=norm)
    assert attack.variants(4) == 4
    starts = [attack.start(attack.vary(p, torch.full_like(p.y, k))).x for k in range(4)]
    d = torch.stack(starts) - p.x0
    assert len({tuple(row.flatten().tolist()) for start in d for row in start}) == 4 * len(p)
    mixed = torch.arange(len(p)) % 4
    together = attack.start(attack.vary(p, mixed)).x
    assert all(torch.equal(together[row], starts[int(mixed[row])][row]) for row in range(len(p)))


def test_one_variant_by_default() -> None:
    """No restart unless asked for; FGSM and PGD from the clean input have nothing to vary."""
    assert FGSM().variants(10) == PGD().variants(10) == APGD().variants(10) == 1


class Standing(Rows):
    """Where the rows stand."""

    x: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess(Attack[Standing]):
    """Variant k proposes one point of its own and never moves: random search."""

    tries: int = 8
    steps = 1

    def variants(self, classes: int) -> int:
        return self.tries

    def start(self, p: Problem) -> Standing:
        return Standing(x=p.ball.on_sphere())

    def step(self, s: Standing, t: Tensor, p: Problem, q: Oracle) -> Standing:
        q.logits(s.x)
        return s

    def point(self, s: Standing) -> Tensor:
        return s.x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Starts(Guess):
    """Says no more about restarts than that it has the option."""

    restarts: int = 3
    variants = Attack.variants


def test_an_option_restarts_is_all_that_restarts_need(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """As many starts as the option says, each its own and each queried, of a sample that holds."""
    p = linear_rows(problem, 4, rows=1, eps=0.0001)
    for restarts in (1, 3):
        asked: set[tuple[float, ...]] = set()

        def watched(x: Tensor, asked: set[tuple[float, ...]] = asked) -> Tensor:
            asked.update(tuple(row) for row in x.tolist())
            return linear_model(4)(x)

        (ending,) = conquer(Starts(restarts=restarts), watched, p)
        assert ending.variant is None
        assert len(asked - {tuple(p.x0[0].tolist())}) == restarts


def test_restarts_are_used_only_after_the_earlier_ones_failed(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """The first variant with an adversarial point wins; later ones are not run."""
    model, attack = linear_model(4), Guess()
    p = linear_rows(problem, 4, rows=60, eps=0.12)
    asked: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        asked.extend(x)
        return model(x)

    endings = conquer(attack, watched, p)
    points = [attack.start(attack.vary(p, torch.full_like(p.y, k))).x for k in range(attack.tries)]
    wins = torch.stack([model(x).argmax(1) != p.y for x in points])
    tried = {tuple(x.tolist()) for x in asked}
    assert len({ending.variant for ending in endings}) > 3
    for row, ending in enumerate(endings):
        first = int(wins[:, row].int().argmax()) if bool(wins[:, row].any()) else None
        assert ending.variant == first
        for k in range(attack.tries):
            assert (tuple(points[k][row].tolist()) in tried) == (first is None or k <= first)
        if first is not None:
            assert torch.equal(ending.x, points[first][row])
            assert ending.step == 0


def test_the_book_keeps_the_worst_point(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """A sample that holds is left with the lowest margin that any step of its last variant saw."""
    model = linear_model(4)
    p = linear_rows(problem, 4, eps=0.001)
    seen: dict[int, list[float]] = {row: [] for row in range(len(p))}

    class Watched(PGD):
        def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
            z = model(s.x)
            for row, index in enumerate(p.index.tolist()):
                others = torch.cat([z[row, : p.y[row]], z[row, p.y[row] + 1 :]])
                seen[index].append(float(z[row, p.y[row]] - others.max()))
            return super().step(s, t, p, q)

    for row, ending in enumerate(conquer(Watched(steps=5), model, p)):
        assert ending.variant is None
        assert ending.margin == pytest.approx(min(seen[row]), abs=1e-6)


def test_an_attack_asks_for_the_objective_it_was_given(problem: Callable[..., Problem]) -> None:
    """Each objective option reaches the oracle."""
    from robbench.objectives import OBJECTIVES

    asked: list[Objective] = []

    class Recorder(Oracle):
        def jacobian(
            self, x: Tensor, classes: Tensor, need: Tensor | None = None
        ) -> tuple[Tensor, Tensor, Tensor]:
            raise NotImplementedError

        def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
            raise NotImplementedError

        def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
            asked.append(objective)
            return Answer(
                torch.zeros(len(x), 4),
                torch.zeros(len(x)),
                torch.ones_like(x),
                torch.zeros(len(x), dtype=torch.bool),
            )

    p = linear_rows(problem, 4)
    for attack in (
        FGSM(objective="margin"),
        PGD(objective="kl-from-clean"),
        APGD(objective="dlr-targeted"),
        APGD(),
    ):
        attack.step(attack.start(p), torch.zeros_like(p.y), p, Recorder())
    assert asked == [
        OBJECTIVES[name] for name in ("margin", "kl-from-clean", "dlr-targeted", "cross-entropy")
    ]


@pytest.mark.parametrize("interface", [Answer, AnyAttack, Attack])
def test_help_describes_every_field(interface: Any) -> None:
    """One line or more for each, as a field has no docstring of its own."""
    text = pydoc.plain(pydoc.render_doc(interface))
    for field in interface.__annotations__:
        assert re.search(rf"^ \|  {field}: \[?\S+", text, re.MULTILINE), field
