"""The bisection over the budget: closed forms, a loop over whole attacks, and its limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack, Oracle
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.core.rows import Rows
from robbench.testing import check_attack, judge, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

DUAL = {"linf": 1, "l2": 2}


def _curved(x: Tensor) -> Tensor:
    """A small network with curved boundaries, float64."""
    generator = torch.Generator().manual_seed(5)
    u, v = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((8, 10), (4, 8))
    )
    return torch.tanh(2 * (x - 0.5) @ u.T) @ v.T


def _points(rows: int, dimension: int) -> Tensor:
    return 0.2 + 0.6 * torch.rand(
        rows, dimension, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )


def _no_budget(rows: int) -> Tensor:
    return torch.full((rows,), torch.inf, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("high", ["none", "0.001", "0.7"])
def test_the_distance_to_a_plane_is_found_from_any_first_budget(
    norm: str, high: str, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """FGSM on two linear classes succeeds above the distance: bisection reaches it from above."""
    w, x0 = torch.linspace(-1, 1.5, 12, dtype=torch.float64), _points(8, 12)
    x0 = 0.5 + 0.2 * (x0 - 0.5)

    def model(x: Tensor) -> Tensor:
        value = (x - 0.5) @ w
        return torch.stack([value, -value], 1)

    y = model(x0).argmax(1)
    distance = model(x0)[:, 0].abs() / torch.linalg.vector_norm(w, ord=DUAL[norm])
    p = problem(model, x0, y, _no_budget(8), norm)
    endings = conquer(ATTACKS.build(f"minimal:attack=fgsm,rounds=24,high={high}"), model, p)
    size = p.norm.size(torch.stack([ending.x for ending in endings]) - x0)
    assert all(ending.variant == 0 for ending in endings)
    assert bool((size >= distance * (1 - 1e-9)).all())
    assert bool((size <= distance * 1.001 + 1e-6).all())


def _plain(
    spec: str, row: Problem, conquer: Callable[..., Any], rounds: int, first: float
) -> float:
    """Bisection as a loop over whole attacks on one sample: the size found, inf if none."""
    lo, hi, eps = 0.0, math.inf, first
    farthest = float(row.norm.size(torch.maximum(row.x0, 1 - row.x0)))
    for _ in range(rounds):
        (ending,) = conquer(
            ATTACKS.build(spec), _curved, row.replace(eps=torch.tensor([eps], dtype=torch.float64))
        )
        if ending.variant is None:
            lo = eps
        else:
            hi = min(hi, float(row.norm.size(ending.x[None] - row.x0)))
        lo = lo if lo < hi else 0.0
        eps = min(2 * eps, farthest) if math.isinf(hi) else (lo + hi) / 2
        if not lo < eps < hi:
            break
    return hi


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("inner", ["pgd:steps=6", "apgd:steps=7,objective=dlr"])
def test_sizes_are_those_of_a_loop_over_whole_attacks(
    norm: str, inner: str, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """Rows of different rounds and clocks share a lane, and come to the same sizes."""
    x0 = _points(6, 10)
    p = problem(_curved, x0, _curved(x0).argmax(1), _no_budget(6), norm)
    endings = conquer(ATTACKS.build(f"minimal:attack=({inner}),rounds=7,high=0.15"), _curved, p)
    plain = [_plain(inner, p.take(slice(i, i + 1)), conquer, 7, 0.15) for i in range(6)]
    found = [
        float(p.norm.size(ending.x[None] - x0[i])) if ending.variant is not None else math.inf
        for i, ending in enumerate(endings)
    ]
    assert found == pytest.approx(plain, rel=1e-9)  # a lone row may round otherwise
    assert sum(map(math.isfinite, plain)) >= 5


@pytest.mark.parametrize("inner", ["pgd:steps=6,restarts=2", "apgd-t:steps=6"])
def test_under_a_budget_it_is_the_inner_attack(
    inner: str, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """With a finite eps the first run is at eps, and no later one has more."""
    x0 = _points(12, 10)
    y = _curved(x0).argmax(1)
    p = problem(_curved, x0, y, torch.full((12,), 0.03, dtype=torch.float64), "linf")
    alone = conquer(ATTACKS.build(inner), _curved, p)
    wrapped = conquer(ATTACKS.build(f"minimal:attack=({inner}),rounds=3"), _curved, p)
    assert 0 < sum(ending.variant is not None for ending in alone) < 12
    for a, b in zip(alone, wrapped, strict=True):
        assert (a.variant, a.step, a.margin) == (b.variant, b.step, b.margin)
        assert torch.equal(a.x, b.x)


class _Constant(nn.Module):
    """Always says class k, and has gradients all the same."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return (
            nn.functional.one_hot(torch.full((len(x),), self.k), 4).to(x.dtype)
            + 1e-3 * x.flatten(1)[:, :4]
        )


def test_a_sample_that_cannot_be_broken_ends_at_the_farthest_corner() -> None:
    """0.1, 0.2, 0.4, 0.8 and the corner fail; then it ends, without another gradient."""
    split = toy_split(12)
    k = int(split.labels[0])
    verdicts = judge(
        "minimal:attack=(pgd:steps=3),rounds=9", _Constant(k), split, parse_threat("linf:inf")[0]
    )
    corners = (
        torch.maximum(split.pixels(slice(None)), 1 - split.pixels(slice(None))).flatten(1).amax(1)
    )
    seen = 0
    for verdict in verdicts:
        if int(split.labels[verdict.sample]) == k:
            runs = 1 + sum(0.1 * 2**n < float(corners[verdict.sample]) for n in range(5))
            assert not verdict.adversarial
            assert (verdict.n_forward, verdict.n_backward) == (1 + runs * 4, runs * 3)
            seen += 1
    assert seen >= 2


class Here(Rows):
    """Where the rows of `Darken` stand."""

    x: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Darken(Attack[Here]):
    """Sets the floor(eps) brightest entries to zero."""

    norms: ClassVar[frozenset[str]] = frozenset({"l0"})
    steps: int = 1

    def start(self, p: Problem) -> Here:
        return Here(x=p.ball.project(torch.zeros_like(p.x0)))

    def step(self, s: Here, t: Tensor, p: Problem, q: Oracle) -> Here:
        q.logits(s.x)
        return s

    def point(self, s: Here) -> Tensor:
        return s.x


@pytest.mark.parametrize("high", ["none", "1", "2.5", "12"])
def test_in_l0_budgets_are_whole_numbers(
    high: str, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """The number of entries to darken is found exactly, in a handful of runs."""
    x0 = torch.full((1, 12), 0.5, dtype=torch.float64)
    for count in range(1, 12):  # the entries to darken: 12 grey ones sum up to 6

        def model(x: Tensor, limit: float = 6.25 - count / 2) -> Tensor:
            return torch.stack([x.sum(1) - limit, torch.zeros_like(x[:, 0])], 1)

        p = problem(model, x0, torch.tensor([0]), _no_budget(1), "l0")
        (ending,) = conquer(
            ATTACKS.build(f"minimal:attack=({__name__}:Darken),rounds=7,high={high}"), model, p
        )
        assert int((ending.x == 0).sum()) == count


def test_options_are_canonical_and_round_trip() -> None:
    """Spellings of one wrapped attack give one text, which builds it again."""
    text = ATTACKS.canonical("minimal:attack=(pgd:steps=020,restarts=1),high=1/2")
    assert text == "minimal:attack=(pgd:steps=20),high=0.5"
    assert ATTACKS.canonical(text) == text
    assert ATTACKS.build(text) == ATTACKS.build("minimal:high=0.5,attack=(pgd:steps=20)")
    assert ATTACKS.canonical("minimal:attack=apgd-ce") == "minimal"
    assert ATTACKS.build(ATTACKS.canonical(text, full=True)) == ATTACKS.build(text)


def test_it_takes_variants_norms_and_cost_from_inside() -> None:
    """Restarts and targets are variants here too; at most `rounds` runs of steps + 1 queries."""
    attack = ATTACKS.build("minimal:attack=(apgd-t:steps=5,restarts=2),rounds=4")
    assert (attack.variants(4), attack.steps + 1, attack.goal) == (6, 4 * 6, "minimum-norm")
    assert attack.norms == ATTACKS.build("apgd").norms


@pytest.mark.parametrize(
    "inner", ["minimal", "hopskipjump", "pyautoattack", "eot:attack=(minimal:attack=pgd)"]
)
def test_what_seeks_the_smallest_by_itself_is_refused(inner: str) -> None:
    """Bisection over such an attack, or over another package's, would mean nothing."""
    with pytest.raises(UserError, match=r"by itself|another package"):
        ATTACKS.build(f"minimal:attack=({inner})")


def test_it_conforms() -> None:
    """The conformance suite, in every norm of the inner attack."""
    check_attack("minimal:attack=(pgd:steps=2),rounds=3")
