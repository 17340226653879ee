"""Attacks by another model: its gradients, the target's verdicts and queries; no side effects."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.transfer import Transfer
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.models.base import Classifier
from robbench.testing import check_attack, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


def _build(inner: str, model: nn.Module) -> Any:
    return ATTACKS.build(f"transfer:source=other,attack=({inner})").equip(
        {"other": model}.__getitem__
    )


def _split_problem(
    problem: Callable[..., Problem], model: nn.Module, eps: float, n: int = 24
) -> Problem:
    split = toy_split(n)
    return problem(model, split.pixels(slice(None)), split.labels, torch.full((n,), eps), "linf")


@pytest.mark.parametrize(
    "inner",
    [
        "pgd:steps=8,restarts=2",
        "apgd-t:steps=6",
        "deepfool:steps=5",
        "minimal:attack=(pgd:steps=3)",
    ],
)
def test_from_the_very_model_it_is_the_white_box_attack(
    inner: str, problem: Callable[..., Problem], conquer: Any
) -> None:
    """The same successes, at the same steps and points."""
    model = toy_model()
    p = _split_problem(problem, model, 0.02)
    white, transferred = (
        conquer(ATTACKS.build(inner), model, p),
        conquer(_build(inner, model), model, p),
    )
    assert 0 < sum(ending.variant is not None for ending in white) < len(white)
    for a, b in zip(white, transferred, strict=True):
        assert (a.variant, a.step) == (b.variant, b.step)
        assert torch.equal(a.x, b.x) or a.variant is None


class Severed(nn.Module):
    """The toy model without a gradient; with `graph`, its logits have one without the input."""

    def __init__(self, graph: bool) -> None:
        super().__init__()
        self.body, self.weights = toy_model(), [torch.zeros(1, requires_grad=graph)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).detach() + self.weights[0]


@pytest.mark.parametrize("inner", ["pgd:steps=3", "apgd-t:steps=3"])
@pytest.mark.parametrize("transferred", [False, True])
def test_a_graph_that_does_not_lead_back_is_no_gradient(
    inner: str, transferred: bool, problem: Callable[..., Problem], conquer: Any
) -> None:
    """Some quantised layers have one: the attack ends as on a model without any."""
    p = _split_problem(problem, toy_model(), 0.02)

    def ends(model: nn.Module) -> Any:
        return (
            conquer(_build(inner, model), toy_model(), p)
            if transferred
            else conquer(ATTACKS.build(inner), model, p)
        )

    for a, b in zip(ends(Severed(graph=True)), ends(Severed(graph=False)), strict=True):
        assert (a.variant, a.step) == (b.variant, b.step)
        assert torch.equal(a.x, b.x)


def test_points_are_the_sources_and_the_verdict_is_the_targets(
    problem: Callable[..., Problem], conquer: Any
) -> None:
    """The target is asked at every point the attack visits on the source, and decides alone."""
    source, split = toy_model(seed=1), toy_split(8)
    p = problem(source, split.pixels(slice(None)), split.labels, torch.full((8,), 1e-3), "linf")
    visited, asked = [], []

    def watched(x: Tensor) -> Tensor:
        visited.append(x.detach())
        return source(x) + 50 * nn.functional.one_hot(
            split.labels, 4
        )  # never wrong: no row leaves early

    def target(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not x.requires_grad
        asked.append(x)
        right = nn.functional.one_hot(split.labels, 4).float()
        return right if len(asked) < 5 else -right  # wrong from its fifth answer on

    conquer(ATTACKS.build("pgd:steps=6,objective=margin"), watched, p)
    endings = conquer(_build("pgd:steps=6,objective=margin", source), target, p)
    assert [ending.step for ending in endings] == [4] * 8
    assert len(asked) == 5
    assert all(torch.equal(a, b) for a, b in zip(asked, visited, strict=False))


def test_only_the_targets_queries_are_counted() -> None:
    """One forward per point, no backward; one each for the clean input and the last check."""
    target, split = toy_model(), toy_split(24)
    attack = _build("pgd:steps=4", toy_model(seed=1))
    verdicts = judge(
        "transfer:source=other", target, split, parse_threat("linf:0.0001")[0], attack=attack
    )
    held = [v for v in verdicts if not v.adversarial]
    assert len(held) > 12
    assert {(v.n_forward, v.n_backward) for v in held} == {(1 + 5 + 1, 0)}


def test_targets_are_those_the_source_finds_likely(problem: Callable[..., Problem]) -> None:
    """The k-th variant goes to the source's k-th wrong class; the target's logits do not count."""
    source, target = toy_model(seed=1), toy_model(seed=0)
    p = _split_problem(problem, target, 0.05)
    with torch.no_grad():
        wrong = (
            source(p.x0)
            .masked_fill(nn.functional.one_hot(p.y, 4).bool(), -torch.inf)
            .argsort(1, descending=True)
        )
    for k in range(3):
        varied = _build("apgd-t:steps=3", source).vary(p, torch.full_like(p.y, k))
        assert torch.equal(varied.target, wrong[:, k])
    own = ATTACKS.build("apgd-t:steps=3")
    assert not torch.equal(
        own.vary(p, torch.zeros_like(p.y)).target, wrong[:, 0]
    )  # the two models differ in this


def test_the_source_is_left_as_it_was(problem: Callable[..., Problem], conquer: Any) -> None:
    """A model in training mode keeps mode, weights and flags; a frozen copy attacks."""
    source = toy_model(seed=1).train()
    before = copy.deepcopy(source.state_dict())
    attack = _build("pgd:steps=3", source)
    conquer(attack, toy_model(), _split_problem(problem, toy_model(), 0.02))
    assert all(module.training for module in source.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in source.parameters())
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    assert attack.model is not source
    assert not attack.model.training
    assert not any(weight.requires_grad for weight in attack.model.parameters())


def test_without_its_source_it_says_so(problem: Callable[..., Problem], conquer: Any) -> None:
    """A spec alone has no model; nor does the attack that `equip` was called on get one."""
    attack = ATTACKS.build("transfer:source=other")
    attack.equip(lambda name: toy_model())
    with pytest.raises(UserError, match="source of a transfer, other"):
        conquer(attack, toy_model(), _split_problem(problem, toy_model(), 0.02))


def test_a_source_of_other_classes_is_refused(
    problem: Callable[..., Problem], conquer: Any
) -> None:
    """Its labels would mean something else."""
    with pytest.raises(UserError, match="knows 3 classes, the model 4"):
        conquer(
            _build("pgd", toy_model(classes=3)),
            toy_model(),
            _split_problem(problem, toy_model(), 0.02),
        )


def test_the_source_reaches_it_through_other_wrappers_and_a_pickle(
    problem: Callable[..., Problem], conquer: Any
) -> None:
    """Equipping works through any wrapper; the equipped attack is the same in another process."""
    target, asked = toy_model(), []
    p = _split_problem(problem, target, 0.02)

    def find(name: str) -> nn.Module:
        asked.append(name)
        return toy_model(seed=1)

    inner = "transfer:source=a/b.c,attack=(pgd:steps=3)"
    plain = conquer(ATTACKS.build(inner).equip(find), target, p)
    for attack in (
        ATTACKS.build(f"eot:attack=({inner}),draws=2"),
        ATTACKS.build(f"minimal:attack=({inner}),rounds=2"),
    ):
        equipped = attack.equip(find)
        assert equipped == attack
        again = conquer(pickle.loads(pickle.dumps(equipped)), target, p)
        assert [(a.variant, a.step) for a in again] == [(a.variant, a.step) for a in plain]
    assert asked == ["a/b.c"] * 3


@pytest.mark.parametrize(
    "spec", ["transfer:source=at", "transfer:attack=(pgd:steps=3),source=(mlp:depth=0,width=8)"]
)
def test_specs_round_trip(spec: str) -> None:
    """A source may be a name or a spec of its own."""
    assert ATTACKS.canonical(spec) == spec
    assert ATTACKS.build(ATTACKS.canonical(spec, full=True)) == ATTACKS.build(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("transfer", "source must be given"),
        ("transfer:source=a,attack=(transfer:source=b)", "one source"),
        ("transfer:source=a,attack=(eot:draws=2)", "random source"),
        ("transfer:source=a,attack=pyautoattack", "another package"),
    ],
)
def test_what_cannot_work_is_refused(spec: str, words: str) -> None:
    """One line that says why."""
    with pytest.raises(UserError, match=words):
        ATTACKS.build(spec)


@functools.cache
def _toy(classes: int, shape: tuple[int, ...]) -> Classifier:
    with torch.random.fork_rng():
        return toy_model(classes, shape, seed=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromToy(Transfer):
    """A transfer that has a source for whatever the conformance suite attacks."""

    source: str = "toy"

    def vary(self, p: Problem, k: Tensor) -> Problem:
        return Transfer.vary(self._from(p), p, k)

    def step(self, s: Any, t: Tensor, p: Problem, q: Any) -> Any:
        return Transfer.step(self._from(p), s, t, p, q)

    def _from(self, p: Problem) -> Any:
        return self.equip(lambda name: _toy(p.logits0.shape[1], tuple(p.x0.shape[1:])))


@pytest.mark.slow
def test_it_conforms() -> None:
    """The conformance suite: verdicts independent of neighbours, all target queries counted."""
    check_attack(f"{__name__}:FromToy:attack=(pgd:steps=3)")
