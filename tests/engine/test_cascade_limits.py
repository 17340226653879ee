"""Runs that may not take as long as they want: so many queries per sample, so much time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry, Backend
from robbench.core.status import OK, UNFINISHED
from robbench.engine.records import CLEAN, NOTHING, REPLAY, Verdict
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

SPECS = ["pgd:steps=4,restarts=2", "apgd:steps=12"]


Run = Callable[..., Any]


def _of_level(points: Mapping[tuple[int, int], Tensor], level: int = 0) -> dict[int, Tensor]:
    return {i: x for (i, n), x in points.items() if n == level}


# -- so many queries per sample


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 11, 22])
@pytest.mark.parametrize("width", [7, 64])
def test_no_sample_takes_more_queries_than_allowed(
    limit: int, width: int, digits: Any, told: Run
) -> None:
    """But for one check. Finished in the limit, the verdict is that without; others are marked."""
    split = digits.split.take(torch.arange(50))
    free = told(SPECS, digits.model, split, "linf:0.1").verdicts
    held = told(SPECS, digits.model, split, "linf:0.1", width=width, queries=limit).verdicts
    unfinished = [key for key, v in held.items() if v.status == UNFINISHED]
    assert unfinished
    for key, v in held.items():
        assert v.n_forward <= limit + 1
        if key in unfinished:
            assert not v.adversarial
            assert v.entry == NOTHING
            assert free[key].n_forward >= limit
        else:
            assert _same(v, free[key])
    broken, most = (sum(v.adversarial for v in run.values()) for run in (held, free))
    assert broken <= most <= broken + len(unfinished)
    fell = [v for v in free.values() if v.adversarial and v.entry != CLEAN]
    allowed = sum(v.n_forward - 1 <= limit for v in fell)  # the check of the point is not counted
    assert broken == most - len(fell) + allowed


def _same(v: Verdict, other: Verdict) -> bool:
    """Equal in every field; but a success at the last query allowed needs no gradient."""
    return v == other or (v.adversarial and v == other._replace(n_backward=other.n_backward - 1))


def test_enough_queries_are_no_limit(digits: Any, told: Run) -> None:
    """An unreached limit changes nothing: clean pass, two restarts of five, thirteen of APGD."""
    split = digits.split.take(torch.arange(50))
    free = told(SPECS, digits.model, split, "linf:0.1").verdicts
    assert told(SPECS, digits.model, split, "linf:0.1", queries=1 + 10 + 13).verdicts == free
    short = told(SPECS, digits.model, split, "linf:0.1", queries=1 + 10 + 12).verdicts
    assert {v.status for v in short.values()} == {OK, UNFINISHED}


def test_more_queries_never_save_a_sample(digits: Any, told: Run) -> None:
    """What falls within a limit falls within every larger one, to the same point."""
    split = digits.split.take(torch.arange(50))
    runs = [
        told(SPECS, digits.model, split, "linf:0.06,0.12", queries=n).verdicts
        for n in (2, 4, 9, 17, 30, 60)
    ]
    for few, many in itertools.pairwise(runs):
        assert all(_same(v, many[key]) for key, v in few.items() if v.adversarial)
        assert all(many[key].status == OK for key, v in few.items() if v.status == OK)


def test_queries_are_for_all_budgets_together(digits: Any, told: Run) -> None:
    """The limit is per sample: where a larger budget hits it, the smaller one's verdict stays."""
    split = digits.split.take(torch.arange(50))
    free = told(SPECS, digits.model, split, "linf:0.04,0.09,0.15").verdicts
    held = told(SPECS, digits.model, split, "linf:0.04,0.09,0.15", queries=30).verdicts
    for (i, n), v in held.items():
        assert v.n_forward <= 31
        if v.status == UNFINISHED:
            assert not v.adversarial
            assert all(held[i, m].status == UNFINISHED for m in range(n, 3))
        else:
            assert _same(v, free[i, n])
    assert {v.status for (_, n), v in held.items() if n == 0} == {OK}
    assert {v.status for (_, n), v in held.items() if n == 1} == {OK, UNFINISHED}


def test_several_draws_of_a_query_are_several_queries(digits: Any, told: Run) -> None:
    """An attack with three queries per point stops where the next three exceed the limit."""
    split = digits.split.take(torch.arange(30))
    spec = "eot:attack=(pgd:steps=6),draws=3"
    for limit in (3, 5, 6, 10, 20):
        for v in told([spec], digits.model, split, "linf:0.1", queries=limit).verdicts.values():
            assert v.n_forward <= limit + 3
            if v.status == UNFINISHED:
                assert v.n_forward >= limit - 2  # no more than a query's worth is left unused


def test_queries_without_a_budget_keep_what_was_found(digits: Any, told: Run) -> None:
    """A minimum-norm attack cut short has a point: its sample is adversarial, and marked."""
    split = digits.split.take(torch.arange(30))
    verdicts = told(["fmn:steps=30"], digits.model, split, "l2:inf", queries=15).verdicts.values()
    tried = [v for v in verdicts if v.entry != CLEAN]
    assert all(v.status == UNFINISHED and v.n_forward <= 16 for v in tried)
    assert sum(v.adversarial for v in tried) > 20


def test_a_limit_does_not_count_rechecks(digits: Any, told: Run) -> None:
    """Both attacks make all their moves, though the first one's point is looked at again."""
    split = digits.split.take(torch.arange(30))
    cascade = ["fmn:steps=6", "ddn:steps=6"]
    verdicts = told(cascade, digits.model, split, "l2:inf", queries=1 + 7 + 7).verdicts.values()
    assert {v.status for v in verdicts} == {OK}
    assert max(v.n_forward for v in verdicts) > 1 + 7 + 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thrifty(Backend):
    """Another package's attack that asks for one forward and finds nothing."""

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        model(p.x0)
        return p.x0


def test_a_backend_is_not_begun_without_queries_left(digits: Any, told: Run) -> None:
    """Its own queries cannot be cut short, so it is either run or not."""
    split = digits.split.take(torch.arange(30))
    cascade = ["pgd:steps=3", AttackEntry("thrifty", Thrifty()), "apgd:steps=3"]
    for limit, most in ((5, 5), (6, 7), (11, 11)):
        for v in told(cascade, digits.model, split, "linf:0.02", queries=limit).verdicts.values():
            assert v.n_forward <= most + 1
            assert (v.status == OK) == (v.adversarial or limit == 11)


def test_replay_before_the_queries_run_out(digits: Any, told: Run) -> None:
    """A stored point that breaks at the larger budget counts, though queries ended below."""
    split = digits.split.take(torch.arange(40))
    points = _of_level(told(["apgd:steps=10"], digits.model, split, "linf:0.25").points)
    alone = told(["pgd:steps=4"], digits.model, split, "linf:0.25", replay=points).verdicts
    assert sum(v.entry == REPLAY for v in alone.values()) > 20
    held = told(
        ["pgd:steps=4"], digits.model, split, "linf:0.01,0.25", queries=4, replay=points
    ).verdicts
    assert any(held[i, 0].status == UNFINISHED for i in range(40))
    assert [held[i, 1].adversarial for i in range(40)] == [
        alone[i, 0].adversarial for i in range(40)
    ]


# -- so much time


@pytest.mark.few(6)
@pytest.mark.parametrize("abandon", [0, 1, 4, 9, 20, 10_000])
@pytest.mark.parametrize("threat", ["linf:0.12", "linf:0.05,0.12"])
def test_out_of_time(abandon: int, threat: str, digits: Any, told: Run) -> None:
    """Every sample is reported: decided ones as without a limit, others marked, with queries."""
    split = digits.split.take(torch.arange(60))
    free = told(SPECS, digits.model, split, threat, width=16).verdicts
    held = told(SPECS, digits.model, split, threat, width=16, abandon=abandon).verdicts
    unfinished = {key for key, v in held.items() if v.status == UNFINISHED}
    assert bool(unfinished) == (abandon < 10_000)
    for key, v in held.items():
        if key in unfinished:
            assert (v.adversarial, v.entry, v.variant, v.step) == (False, NOTHING, -1, -1)
            assert 1 <= v.n_forward <= free[key].n_forward + 1
        else:
            assert v == free[key]
    for level in {n for _, n in held}:
        stood = [v for (_, n), v in held.items() if n == level and not v.adversarial]
        truth = sum(not v.adversarial for (_, n), v in free.items() if n == level)
        assert sum(v.status == OK for v in stood) <= truth <= len(stood)
    if 0 < abandon < 10_000:  # of the queries in flight none is forgotten
        assert sum(v.n_forward for v in held.values()) > sum(
            v.n_forward for v in held.values() if v.status == OK
        ) + len(unfinished)


@pytest.mark.usefixtures("fours", "step_by_step")
def test_what_rows_in_flight_have_cost_is_counted(digits: Any, told: Run, seen: Any) -> None:
    """Sixteen equal rows, given up in full flight: the books say what passed the model."""
    watched = seen(digits.model)
    plain = told(
        ["apgd:steps=10"], digits.model, digits.split.take(torch.arange(40)), "linf:0.02"
    ).verdicts
    holds = next(v.sample for v in plain.values() if not v.adversarial)
    copies = digits.split.take(torch.full((16,), holds))
    verdicts = told(
        ["apgd:steps=10"], watched, copies, "linf:0.02", width=16, abandon=5
    ).verdicts.values()
    assert {v.status for v in verdicts} == {UNFINISHED}
    assert (
        sum(watched.forward_rows) == sum(v.n_forward for v in verdicts) == 16 * 7
    )  # the clean pass, five steps and the look at the worst point
    assert sum(watched.backward_rows) == sum(v.n_backward for v in verdicts) == 16 * 5


@pytest.mark.usefixtures("step_by_step")
def test_out_of_time_before_a_backend(digits: Any, told: Run) -> None:
    """Samples that wait for another package's attack are among those that are given up."""
    split = digits.split.take(torch.arange(40))
    cascade = ["fgsm", AttackEntry("thrifty", Thrifty()), "apgd:steps=4"]
    for abandon in range(1, 12):
        verdicts = told(
            cascade, digits.model, split, "linf:0.03", width=16, abandon=abandon
        ).verdicts.values()
        assert all(v.status == UNFINISHED for v in verdicts if not v.adversarial)


@pytest.mark.usefixtures("step_by_step")
def test_out_of_time_without_a_budget_keeps_what_earlier_attacks_found(
    digits: Any, told: Run
) -> None:
    """The smallest perturbation of finished attacks counts; the sample is marked."""
    split = digits.split.take(torch.arange(16))
    whole = told(["fmn:steps=10"], digits.model, split, "l2:inf").verdicts
    held = told(
        ["fmn:steps=10", "ddn:steps=40"], digits.model, split, "l2:inf", width=16, abandon=20
    ).verdicts
    tried = [key for key, v in held.items() if v.entry != CLEAN]
    assert len(tried) > 10
    for key in tried:
        assert (held[key].status, held[key].adversarial, held[key].l2) == (
            UNFINISHED,
            True,
            whole[key].l2,
        )


@pytest.mark.usefixtures("step_by_step")
def test_out_of_time_without_a_budget_keeps_what_rows_in_flight_have_found(
    digits: Any, told: Run
) -> None:
    """All rows are near the end of a long attack with points: results, if not the smallest."""
    split = digits.split.take(torch.arange(16))
    whole = told(["fmn:steps=60"], digits.model, split, "l2:inf", width=16).verdicts
    held = told(["fmn:steps=60"], digits.model, split, "l2:inf", width=16, abandon=50).verdicts
    assert {v.status for v in held.values() if v.entry != CLEAN} == {UNFINISHED}
    assert all(v.adversarial for v in whole.values())
    assert sum(v.adversarial for v in held.values()) >= 15
