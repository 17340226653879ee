"""Several budgets in one run, and none: costs, implications and what is kept."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry, Backend
from robbench.core.freeze import frozen
from robbench.core.norms import NORMS
from robbench.core.status import OK
from robbench.data.base import Split
from robbench.engine.cascade import Cascade
from robbench.engine.records import CLEAN, NOTHING, Verdict
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

from .ladders import Ladder, Line

pytestmark = pytest.mark.usefixtures("one_thread")

SPECS = ["pgd:steps=3,restarts=2", "apgd:steps=8", "apgd-t:steps=6,targets=3"]
BUDGETS = {"linf": (0.03, 0.07, 0.12, 0.2), "l2": (0.2, 0.5, 0.9), "l1": (1.0, 3.0, 6.0)}
Table = dict[tuple[int, int], Verdict]  # by sample and level


@pytest.fixture(scope="module")
def table(told: Callable[..., Any]) -> Callable[..., Table]:
    """The verdicts of a run by sample and budget; every pair is told of exactly once."""
    return lambda *what, **settings: told(*what, **settings).verdicts


def _text(norm: str, *budgets: float) -> str:
    return f"{norm}:{','.join(map(str, budgets))}"


@pytest.fixture(scope="module", params=sorted(BUDGETS))
def curve(
    request: pytest.FixtureRequest, digits: Any, table: Callable[..., Table]
) -> tuple[str, Split, Table, list[Table]]:
    """A norm, 50 samples, verdicts of one run at all budgets, and of a run at each."""
    norm, split = request.param, digits.split.take(torch.arange(50))
    together = table(SPECS, digits.model, split, _text(norm, *BUDGETS[norm]))
    return (
        norm,
        split,
        together,
        [table(SPECS, digits.model, split, _text(norm, eps)) for eps in BUDGETS[norm]],
    )


Runs = tuple[str, Split, Table, list[Table]]


def test_the_curve_is_no_idle_one(curve: Runs) -> None:
    """Some samples fall first at each budget, to several entries, and some never."""
    norm, split, together, _ = curve
    levels = len(BUDGETS[norm])
    counts = [sum(together[i, n].adversarial for i in range(len(split))) for n in range(levels)]
    assert all(a < b for a, b in itertools.pairwise(counts)), counts
    assert len({v.entry for v in together.values()}) >= 4
    assert counts[0] < len(split) / 2


def test_what_breaks_at_one_budget_breaks_at_every_larger_one(curve: Runs) -> None:
    """The larger budget's row is the smaller one's: point, entry, variant, step and cost."""
    norm, split, together, _ = curve
    for i, (low, high) in itertools.product(
        range(len(split)), itertools.pairwise(range(len(BUDGETS[norm])))
    ):
        if together[i, low].adversarial:
            assert together[i, high] == together[i, low]._replace(eps_index=high)


def test_the_smallest_budget_is_a_run_of_its_own(curve: Runs) -> None:
    """At the smallest budget every field is that of a run without the others."""
    _, split, together, alone = curve
    assert [together[i, 0] for i in range(len(split))] == [
        alone[0][i, 0] for i in range(len(split))
    ]


def test_a_larger_budget_adds_its_own_run(curve: Runs) -> None:
    """Robust below, a sample is judged as by that budget alone, or by the worse worst point."""
    norm, split, together, alone = curve
    for i, n in itertools.product(range(len(split)), range(1, len(BUDGETS[norm]))):
        below, here, own = together[i, n - 1], together[i, n], alone[n][i, 0]
        assert here.adversarial == (below.adversarial or own.adversarial)
        if below.adversarial:
            continue
        said = ("entry", "variant", "step", "status", "clean_margin")
        assert [getattr(here, name) for name in said] == [getattr(own, name) for name in said]
        if own.adversarial:
            assert (here.adv_pred, here.adv_margin, here.linf, here.l2) == (
                own.adv_pred,
                own.adv_margin,
                own.linf,
                own.l2,
            )
        else:
            assert here.adv_margin == pytest.approx(min(below.adv_margin, own.adv_margin), abs=1e-5)


def test_queries_are_counted_from_the_first_budget_on(curve: Runs) -> None:
    """A sample's cost at a budget is of all runs up to it, one clean pass and one check."""
    norm, split, together, alone = curve

    def looked(v: Verdict) -> int:
        """The last look at a worst point of a sample that stands."""
        return int(not v.adversarial and v.linf > 0)

    for i, n in itertools.product(range(len(split)), range(1, len(BUDGETS[norm]))):
        below, here, own = together[i, n - 1], together[i, n], alone[n][i, 0]
        if not below.adversarial:
            before, added = below.n_forward - looked(below), own.n_forward - 1 - looked(own)
            assert here.n_forward == before + added + looked(here)
            assert here.n_backward == below.n_backward + own.n_backward


def test_every_row_stays_within_its_own_budget(curve: Runs) -> None:
    """The perturbation of a row fits the budget it is filed under, not only the largest one."""
    norm, _, together, _ = curve
    for (_, n), v in together.items():
        assert getattr(v, norm) <= BUDGETS[norm][n] * (1 + 1e-5) + 1e-7


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize(
    "width", [9, *(pytest.param(width, marks=pytest.mark.slow) for width in (1, 40))]
)
def test_widths_change_nothing(
    width: int, digits: Any, table: Callable[..., Table], curve: Runs
) -> None:
    """Every field at every budget is bit-equal whatever number of rows is in flight."""
    norm, split, together, _ = curve
    few = 16 if width == 1 else 50
    found = table(
        SPECS, digits.model, split.take(torch.arange(few)), _text(norm, *BUDGETS[norm]), width=width
    )
    assert found == {key: v for key, v in together.items() if key[0] < few}


@pytest.mark.usefixtures("equal_rows")
def test_orders_change_nothing(digits: Any, table: Callable[..., Table], curve: Runs) -> None:
    """Every field at every budget is bit-equal for permuted samples."""
    norm, split, together, _ = curve
    order = torch.randperm(50, generator=torch.Generator().manual_seed(5))
    moved = table(SPECS, digits.model, split.take(order), _text(norm, *BUDGETS[norm]), width=24)
    again = {(int(order[i]), n): v._replace(sample=int(order[i])) for (i, n), v in moved.items()}
    assert again == together


@pytest.mark.parametrize("place", ["first", "only"])
def test_a_zero_budget_among_others(place: str, digits: Any, table: Callable[..., Table]) -> None:
    """At eps 0 a row is the clean one at one forward; the budgets above are unaffected."""
    split = digits.split.take(torch.arange(40))
    found = table(SPECS, digits.model, split, "linf:0,0.06,0.15" if place == "first" else "linf:0")
    for i in range(40):
        v, right = found[i, 0], found[i, 0].clean_pred == int(split.labels[i])
        assert (v.n_forward, v.n_backward, v.linf, v.adversarial) == (1, 0, 0, not right)
        assert (v.entry, v.adv_margin) == (NOTHING if right else CLEAN, v.clean_margin)
    if place == "first":
        without = table(SPECS, digits.model, split, "linf:0.06,0.15")
        assert {
            (i, n - 1): v._replace(eps_index=n - 1) for (i, n), v in found.items() if n
        } == without


def test_misclassified_samples_at_every_budget(digits: Any, table: Callable[..., Table]) -> None:
    """What is wrong from the start costs one forward and is wrong at each budget."""
    split = digits.split.take(torch.arange(30))
    wrong = dataclasses.replace(split, labels=(split.labels + 3) % 10)
    found = table(SPECS, digits.model, wrong, "linf:0.05,0.1,0.2")
    clean = [v for v in found.values() if v.entry == CLEAN]
    assert len(clean) > 60
    for v in clean:
        assert (v.adversarial, v.step, v.variant, v.n_forward, v.n_backward, v.linf) == (
            True,
            0,
            -1,
            1,
            0,
            0,
        )
        assert found[v.sample, 0].entry == found[v.sample, 2].entry == CLEAN


def test_no_sample_at_any_budget(digits: Any, table: Callable[..., Table]) -> None:
    """An empty split gives no verdict."""
    assert table(SPECS, digits.model, digits.split.take(torch.arange(0)), "linf:0.05,0.1") == {}


@pytest.mark.usefixtures("fours")
def test_the_books_say_what_the_model_saw(
    digits: Any, table: Callable[..., Table], seen: Any, curve: Runs
) -> None:
    """Sixteen copies need no padding: the books have all that passed the model, checks too."""
    norm, split, together, _ = curve
    last = len(BUDGETS[norm]) - 1
    late = next(
        i
        for i in range(50)
        if together[i, last].adversarial and not together[i, last - 1].adversarial
    )
    watched = seen(digits.model)
    copies = split.take(torch.full((16,), late))
    found = table(SPECS, watched, copies, _text(norm, *BUDGETS[norm]), width=16)
    looks = sum(not v.adversarial and v.linf > 0 for v in found.values())
    assert looks >= 16
    assert sum(watched.forward_rows) == sum(found[i, last].n_forward for i in range(16)) + looks
    assert sum(watched.backward_rows) == sum(found[i, last].n_backward for i in range(16))


# -- a backend among them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreign(Backend):
    """Another package's attack: one signed step at each row's budget. One forward, backward."""

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        assert bool((p.logits0.argmax(1) == p.y).all())
        x = p.x0.clone().requires_grad_()
        (grad,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(model(x), p.y, reduction="sum"), x
        )
        return (p.x0 + p.eps.reshape(-1, 1, 1, 1) * grad.sign()).clamp(0, 1).detach()


@pytest.mark.parametrize("width", [7, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_backend_and_several_budgets(
    width: int,
    place: int,
    digits: Any,
    table: Callable[..., Table],
    entries: Callable[..., list[AttackEntry]],
) -> None:
    """Anywhere in the cascade, at each budget it gets what is robust and passes on the rest."""
    split = digits.split.take(torch.arange(60))
    budgets = (0.05, 0.1, 0.18)
    cascade = entries(["pgd:steps=1,rate=0.2,init=clean", "apgd:steps=8"])
    cascade.insert(place, AttackEntry("foreign", Foreign()))
    together = table(cascade, digits.model, split, _text("linf", *budgets), width=width)
    alone = [
        [table([entry], digits.model, split, f"linf:{eps}", width=width) for entry in cascade]
        for eps in budgets
    ]
    by_backend = 0
    for (i, n), v in together.items():
        if v.entry == CLEAN:
            continue
        breaks = [
            (level, k)
            for level in range(n + 1)
            for k in range(3)
            if alone[level][k][i, 0].adversarial
        ]
        assert v.adversarial == bool(breaks)
        assert v.entry == (breaks[0][1] if breaks else NOTHING)
        if breaks and breaks[0][1] == place:
            by_backend += 1
            own = alone[breaks[0][0]][place][i, 0]
            assert (v.adv_margin, v.linf, v.variant, v.step) == (own.adv_margin, own.linf, 0, -1)
    assert by_backend > 3 or place == 2


# -- progress and stopping


@pytest.mark.parametrize("backend", [False, True])
def test_progress_is_monotone_over_all_budgets(
    backend: bool, digits: Any, entries: Callable[..., list[AttackEntry]]
) -> None:
    """The share done never falls, is in [0,1], ends at 1; budgets are reported together."""
    built = entries(["pgd:steps=3,restarts=2", "apgd:steps=6"])
    built.insert(1, AttackEntry("foreign", Foreign())) if backend else None
    with frozen(digits.model):
        cascade = Cascade(
            digits.model,
            digits.split.take(torch.arange(80)),
            parse_threat("linf:0.05,0.1,0.2"),
            built,
            seed=0,
            width=16,
        )
        ticks = list(cascade.run())
    shares = [tick.progress for tick in ticks]
    assert all(0 <= a <= b + 1e-12 <= 1 + 2e-12 for a, b in itertools.pairwise(shares)), shares
    assert shares[-1] == pytest.approx(1)
    assert len({round(share, 6) for share in shares}) > 10
    for tick in ticks:
        assert sorted(v.eps_index for v in tick.verdicts) == sorted(
            [0, 1, 2] * (len(tick.verdicts) // 3)
        )


@pytest.mark.usefixtures("step_by_step")
def test_a_stop_tells_of_whole_samples(
    digits: Any, table: Callable[..., Table], entries: Callable[..., list[AttackEntry]]
) -> None:
    """What is told before a stop has all budgets, and is what an undisturbed run says."""
    split = digits.split.take(torch.arange(60))
    whole = table(SPECS, digits.model, split, "linf:0.05,0.1,0.2")
    calls: list[None] = []
    with frozen(digits.model):
        cascade = Cascade(
            digits.model, split, parse_threat("linf:0.05,0.1,0.2"), entries(SPECS), seed=0, width=8
        )
        ticks = list(cascade.run(stop=lambda: calls.append(None) or len(calls) > 400))
    told = {(v.sample, v.eps_index): v for tick in ticks for v in tick.verdicts}
    assert 20 < len(told) < 180
    assert len(told) % 3 == 0
    assert all(whole[key] == v for key, v in told.items())


def test_worst_points_are_kept_for_each_budget(
    digits: Any, entries: Callable[..., list[AttackEntry]]
) -> None:
    """With keep_points each verdict has its own point, of the size and verdict it names."""
    split, budgets = digits.split.take(torch.arange(40)), (0.04, 0.09, 0.16)
    with frozen(digits.model):
        cascade = Cascade(
            digits.model,
            split,
            parse_threat(_text("linf", *budgets)),
            entries(SPECS),
            seed=0,
            width=16,
            keep_points=True,
        )
        told = [
            pair for tick in cascade.run() for pair in zip(tick.verdicts, tick.points, strict=True)
        ]
    assert len(told) == 120
    for v, x in told:
        if x is None:
            assert (v.linf, v.adv_margin) == (0, v.clean_margin)
            continue
        x0, y = split.pixels(slice(v.sample, v.sample + 1))[0], int(split.labels[v.sample])
        assert float((x - x0).abs().max()) == v.linf <= budgets[v.eps_index] * (1 + 1e-5) + 1e-7
        with torch.no_grad():
            assert (int(digits.model(x[None]).argmax()) != y) == v.adversarial


# -- no budget


class NearestLadder(Ladder):
    """A ladder that seeks the nearest point."""

    goal = "minimum-norm"


def _ladder(*rungs: tuple[float, ...]) -> AttackEntry:
    return AttackEntry(f"ladder{rungs}", NearestLadder(rungs=rungs))


@pytest.mark.parametrize(
    ("ladders", "size", "entry", "variant"),
    [
        ([_ladder((0.7, 0.35, 0.5, 0.2))], 0.35, 0, 0),
        ([_ladder((0.7, 0.2, 0.1), (0.1, 0.4, 0.6), (0.45, 0.42, 0.1))], 0.4, 0, 1),
        ([_ladder((0.7, 0.6)), _ladder((0.5, 0.32)), _ladder((0.34, 0.33))], 0.32, 1, 0),
        ([_ladder((0.5, 0.4)), _ladder((0.4, 0.5))], 0.4, 0, 0),  # the first of equals
        ([_ladder((0.1, 0.2)), _ladder((0.29, 0.25))], None, NOTHING, -1),
        ([_ladder((0.79, 0.2)), _ladder((0.9, 1.5))], 0.79, 0, 0),  # outside the box is no point
    ],
)
def test_without_a_budget_the_smallest_perturbation_is_kept(
    ladders: list[AttackEntry],
    size: float | None,
    entry: int,
    variant: int,
    dark: Split,
    table: Callable[..., Table],
) -> None:
    """The nearest misclassified of all points of all variants; and all have been tried."""
    queries = sum((attack.steps + 1) * len(attack.rungs) for _, attack in ladders)
    for v in table(ladders, Line(0.5), dark, "linf:inf").values():
        assert (v.adversarial, v.entry, v.variant, v.status) == (
            size is not None,
            entry,
            variant,
            OK,
        )
        assert v.linf == pytest.approx(size or 0, abs=1e-6)
        assert v.n_forward >= 1 + queries
        assert v.adversarial == (v.adv_pred == 1) == (v.adv_margin < 0)


def test_without_a_budget_nobody_leaves_early(digits: Any, table: Callable[..., Table]) -> None:
    """A fooled row runs to its last step: exact costs, and a check of its smallest point."""
    split = digits.split.take(torch.arange(40))
    for v in table(["fmn:steps=15", "ddn:steps=9"], digits.model, split, "l2:inf").values():
        if v.entry == CLEAN:
            assert (v.n_forward, v.l2) == (1, 0)
        else:
            assert v.adversarial
            assert (v.n_forward, v.n_backward) == (1 + 16 + 1 + 10 + 1, 15 + 9)


MINIMAL = [
    "fmn:steps=20",
    "ddn:steps=20",
    "deepfool:steps=8",
    "minimal:attack=(pgd:steps=5,restarts=2),rounds=4",
]


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize("width", [5, 64])
def test_several_smallest_perturbations_are_their_minimum(
    width: int, digits: Any, table: Callable[..., Table]
) -> None:
    """The cascade's perturbation is the smallest of its entries', named by the first of them."""
    split = digits.split.take(torch.arange(40))
    together = table(MINIMAL, digits.model, split, "l2:inf", width=width)
    alone = [table([spec], digits.model, split, "l2:inf") for spec in MINIMAL]
    for (i, _), v in together.items():
        if v.entry == CLEAN:
            continue
        sizes = [run[i, 0].l2 if run[i, 0].adversarial else torch.inf for run in alone]
        assert v.adversarial
        assert (v.l2, v.entry) == (min(sizes), sizes.index(min(sizes)))
        assert v.adv_margin <= 0
        assert v.adv_pred != int(split.labels[i])
    assert len({v.entry for v in together.values()}) >= 3


@pytest.mark.parametrize("norm", NORMS)
def test_what_was_found_without_a_budget_holds_with_one(
    norm: str, digits: Any, table: Callable[..., Table]
) -> None:
    """With a finite budget a minimum-norm attack breaks exactly the samples it fits."""
    split = digits.split.take(torch.arange(40))
    free = table(["fmn:steps=25"], digits.model, split, f"{norm}:inf")
    sizes = sorted(getattr(v, norm) for v in free.values())
    eps = sizes[20]
    for key, v in table(["fmn:steps=25"], digits.model, split, f"{norm}:{eps}").items():
        assert v.adversarial == (
            free[key].adversarial and getattr(free[key], norm) <= eps * (1 + 1e-5) + 1e-7
        )
        if free[key].adversarial and v.adversarial:
            assert getattr(free[key], norm) <= getattr(v, norm) + 1e-6


def test_attacks_of_a_budget_do_not_see_another_ones_points(
    digits: Any, table: Callable[..., Table]
) -> None:
    """A minimum-norm attack with several budgets ends in the smallest, else tries each."""
    split = digits.split.take(torch.arange(40))
    together = table(["fmn:steps=20"], digits.model, split, "l2:0.3,0.8")
    low, high = (table(["fmn:steps=20"], digits.model, split, f"l2:{eps}") for eps in (0.3, 0.8))
    for i in range(40):
        assert together[i, 0] == low[i, 0]
        assert together[i, 1].adversarial == (low[i, 0].adversarial or high[i, 0].adversarial)
