"""The inner attack of training: one fixed batch, all rows at the same step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.apgd import APGD
from robbench.attacks.base import Oracle
from robbench.attacks.fgsm import FGSM
from robbench.attacks.pgd import PGD
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.engine.lockstep import lockstep
from robbench.objectives import OBJECTIVES, SoftCrossEntropy
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


def _problem(digits: Any, rows: int, norm: str, eps: float) -> Problem:
    index = torch.arange(rows)
    x0 = digits.split.pixels(index)
    with torch.no_grad():
        logits0 = digits.model(x0)
    y, none, ids = digits.split.labels[index], torch.full_like(index, -1), digits.split.ids[index]
    return Problem(
        x0=x0,
        y=y,
        target=none,
        eps=torch.full((rows,), eps),
        key=ids,
        index=index,
        logits0=logits0,
        norm=NORMS[norm],
    )


def _plain(
    model: nn.Module, p: Problem, start: Tensor, steps: int, rate: float
) -> tuple[Tensor, Tensor]:
    """The textbook loop over a batch, and the step at which each row was first wrong."""
    x, survived = start, torch.full_like(p.y, steps)
    for step in range(steps):
        x = x.detach().requires_grad_()
        logits = model(x)
        survived = torch.where((logits.argmax(1) != p.y) & (survived == steps), step, survived)
        (grad,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(logits, p.y, reduction="sum"), x
        )
        eps = p.eps.reshape(-1, 1, 1, 1)
        if p.norm.name == "linf":
            d = x.detach() + rate * eps * grad.sign() - p.x0
            x = (p.x0 + torch.maximum(torch.minimum(d, eps), -eps)).clamp(0, 1)
        else:
            d = (
                x.detach()
                + rate * eps * grad / grad.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
                - p.x0
            )
            x = (
                p.x0 + d * (eps / d.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)).clamp(max=1)
            ).clamp(0, 1)
    return x.detach(), survived


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("rows", [1, 13, 50])
def test_it_is_the_plain_loop(norm: str, rows: int, digits: Any) -> None:
    """PGD in lockstep ends where the textbook loop ends, counting each label's survival."""
    p, attack = _problem(digits, rows, norm, {"linf": 0.1, "l2": 0.5}[norm]), PGD(steps=7)
    # In double precision: in float32 torch's cross-entropy loses the gradient of confident samples
    # to rounding, ours does not.
    p, model = p.replace(x0=p.x0.double(), eps=p.eps.double()), copy.deepcopy(digits.model).double()
    with frozen(model):
        found = lockstep(attack, model, p)
        x, survived = _plain(model, p, attack.start(p).x, 7, 2.5 / 7)
    assert torch.allclose(found.x, x, atol=1e-9)
    assert found.survived.tolist() == survived.tolist()
    assert found.steps == 7
    assert not found.x.requires_grad
    if rows == 50:
        assert {0, 7} < set(found.survived.tolist())


@pytest.mark.parametrize(
    "attack",
    [PGD(steps=5), FGSM(), APGD(steps=6), PGD(steps=1, init="gaussian", objective="kl-from-clean")],
)
def test_it_costs_exactly_its_steps(attack: Any, digits: Any, seen: Any) -> None:
    """`steps` forwards and backwards of the whole batch, no last look; fooled rows move on."""
    watched = seen(digits.model)
    with frozen(watched):
        found = lockstep(attack, watched, _problem(digits, 21, "linf", 0.15))
    assert watched.forward_rows == [21] * attack.steps
    assert watched.backward_rows == [21] * attack.steps
    assert float((found.x - _problem(digits, 21, "linf", 0.15).x0).abs().max()) <= 0.15 + 1e-6


def test_it_leaves_the_model_alone(digits: Any) -> None:
    """No weight gets a gradient, and the points are leaves."""
    with frozen(digits.model):
        found = lockstep(PGD(steps=3), digits.model, _problem(digits, 9, "l2", 0.5))
    assert all(weight.grad is None or weight.requires_grad for weight in digits.model.parameters())
    assert found.x.is_leaf


@pytest.mark.parametrize("objective", ["cross-entropy", "margin", "dlr", "kl-from-clean"])
def test_it_climbs(objective: str, digits: Any) -> None:
    """The last point's objective is above the start's on nearly all rows of a smooth problem."""
    p, attack = (
        _problem(digits, 40, "linf", 0.05),
        PGD(steps=10, objective=objective, init="gaussian"),
    )
    with frozen(digits.model), torch.no_grad():
        before = OBJECTIVES[objective](digits.model(attack.start(p).x), p)
    with frozen(digits.model):
        x = lockstep(attack, digits.model, p).x
    with torch.no_grad():
        assert float((OBJECTIVES[objective](digits.model(x), p) > before).float().mean()) >= 0.95


@pytest.mark.parametrize("attack", [PGD(steps=7), FGSM()])
def test_an_objective_of_the_rows_replaces_the_attacks_own(attack: Any, digits: Any) -> None:
    """The textbook loop on cross-entropy of given distributions at a temperature, as many passes.

    Each row climbs its own, in whatever order.
    """
    p = _problem(digits, 21, "linf", 0.1)
    p, model = p.replace(x0=p.x0.double(), eps=p.eps.double()), copy.deepcopy(digits.model).double()
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(21, 10, generator=generator, dtype=torch.float64).mul(3).softmax(1)
    objective = SoftCrossEntropy(targets=targets, temperature=2.0)
    x, rate = attack.start(p).x, 2.5 / 7 if attack.steps > 1 else 1.0
    with frozen(model):
        for _ in range(attack.steps):
            x = x.detach().requires_grad_()
            value = torch.nn.functional.cross_entropy(model(x) / 2, targets, reduction="sum")
            (grad,) = torch.autograd.grad(value, x)
            d = x.detach() + rate * 0.1 * grad.sign() - p.x0
            x = (p.x0 + d.clamp(-0.1, 0.1)).clamp(0, 1)
        found = lockstep(attack, model, p, objective=objective)
        order = torch.randperm(21, generator=generator)
        moved = lockstep(attack, model, p.take(order), objective=objective.take(order))
        own = lockstep(attack, model, p)
    assert torch.allclose(found.x, x, atol=1e-9)
    assert torch.allclose(moved.x, found.x[order], atol=1e-9)
    assert not torch.allclose(own.x, found.x, atol=1e-2)


def test_an_answer_that_is_no_number_is_no_mistake_and_moves_nothing(digits: Any) -> None:
    """The row whose logits are NaN stays where it starts; the other rows do not notice."""
    p, attack = _problem(digits, 9, "linf", 0.15), PGD(steps=5)
    broken = torch.zeros(9, 1)
    broken[4] = torch.nan
    with frozen(digits.model):
        plain = lockstep(attack, digits.model, p)
        found = lockstep(attack, lambda x: digits.model(x) * (1 + broken), p)
    others = torch.arange(9) != 4
    assert torch.equal(found.x[4], attack.start(p).x[4])
    assert found.survived[4] == 5
    assert torch.equal(found.x[others], plain.x[others])
    assert torch.equal(found.survived[others], plain.survived[others])
    assert plain.survived[others].lt(5).any()


class Twice(PGD):
    """PGD that looks at each point twice."""

    def step(self, s: Any, t: Tensor, p: Problem, q: Oracle) -> Any:
        q.logits(s.x)
        return super().step(s, t, p, q)


def test_steps_are_counted_and_not_questions(digits: Any) -> None:
    p = _problem(digits, 30, "linf", 0.15)
    with frozen(digits.model):
        once, twice = (lockstep(attack(steps=5), digits.model, p) for attack in (PGD, Twice))
    assert torch.equal(once.survived, twice.survived)
    assert {0, 5} < set(once.survived.tolist())


@pytest.mark.parametrize(
    ("point", "found"), [(lambda x: x[:1], r"shape \(1, 1, 8, 8\)"), (lambda x: None, "NoneType")]
)
def test_points_of_another_shape_are_refused(digits, point, found):
    """Said of the attack that returned them."""

    class Own(PGD):
        def point(self, s):
            return point(super().point(s))

    with pytest.raises(UserError, match=f"Own: its point returned {found}"):
        lockstep(Own(steps=1), digits.model, _problem(digits, 4, "linf", 0.1))
