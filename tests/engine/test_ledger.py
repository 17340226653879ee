"""A sample's account: the worst point of all attempts, summed cost, and its first success."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robbench.core.status import NON_FINITE, OK, UNCONFIRMED, UNFINISHED
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.confirm import Confirmed
from robbench.engine.ledger import Ledger
from robbench.engine.pool import Pool
from robbench.engine.records import CLEAN, NOTHING, REPLAY, Attempt, JudgedRow
from robbench.engine.schedule import Trial
from robbench.threat.model import parse_threat

pytestmark = pytest.mark.usefixtures("one_thread")

START, LINE, SLOPE = 0.25, 0.75, 10.0
FIRST = Trial(0, 0, 0)


class Line(nn.Module):
    """Class 1 where the first pixel is above the line; a margin of 10 at the clean input."""

    def forward(self, x: Tensor) -> Tensor:
        z = SLOPE * (x[:, 0] - LINE)
        return torch.stack([-z, z], 1)


def _ledger(
    threat: str = "l2:1", *, samples: int = 3, late: bool = False, keep: bool = True
) -> Ledger:
    split = Split(
        torch.full((samples, 2), START),
        torch.zeros(samples, dtype=torch.int64),
        torch.arange(samples),
        ("a", "b"),
        "toy",
        "test",
    )
    tiles = Tiles(8, 8)
    pool = Pool.of(split, parse_threat(threat), Line(), seed=0, tiles=tiles)
    return Ledger(pool, Line(), tiles, draws=1, late=late, keep_points=keep)


def _point(distance: float) -> Tensor:
    return torch.tensor([START + distance, START])


def _judged(distance: float, *, adversarial: bool, fits: bool = True) -> JudgedRow:
    margin = -2 * SLOPE * (START + distance - LINE)
    return JudgedRow(
        int(adversarial),
        margin,
        0.0,
        adversarial,
        distance,
        distance,
        distance,
        1.0,
        1.0,
        distance,
        fits,
    )


def _attempt(distance: float, trial: Trial = FIRST, judged: JudgedRow | None = None) -> Attempt:
    margin = -2 * SLOPE * (START + distance - LINE)
    return Attempt(0, trial, _point(distance), judged, margin, step=4, n_forward=5, n_backward=3)


DISTANCES = st.lists(st.sampled_from([-0.1, 0.1, 0.2, 0.3, 0.4]), max_size=8)


@given(DISTANCES, st.booleans())
def test_the_point_with_the_lowest_margin_stays(distances: list[float], looked: bool) -> None:
    """Of equals the first; the clean input where nothing was worse. Points must be inside."""
    ledger = _ledger()
    for n, distance in enumerate(distances):
        judged = _judged(distance, adversarial=False, fits=distance != 0.4) if looked else None
        ledger.enter(_attempt(distance, Trial(0, n, 2), judged))
    record = ledger.records[0]
    worse = [d for d in distances if d > 0 and not (looked and d == 0.4)]
    if worse:
        assert record.x is not None
        assert torch.equal(record.x, _point(max(worse)))
        assert record.source == (distances.index(max(worse)), 2)
    else:
        assert (record.x, record.source) == (None, (NOTHING, -1))
    assert (record.found, record.entry) == (False, NOTHING)
    assert (record.n_forward, record.n_backward) == (1 + 5 * len(distances), 3 * len(distances))


@given(st.lists(st.tuples(st.sampled_from([0.3, 0.6, 0.7, 0.9]), st.booleans()), max_size=8))
def test_without_a_budget_the_smallest_success_stays(tries: list[tuple[float, bool]]) -> None:
    """Of equals the first; what does not break the sample is no candidate."""
    ledger = _ledger("l2:inf")
    for n, (distance, breaks) in enumerate(tries):
        ledger.enter(_attempt(distance, Trial(0, n, 0), _judged(distance, adversarial=breaks)))
        assert not ledger.is_broken(0)
    sizes = [distance if breaks else torch.inf for distance, breaks in tries]
    record = ledger.records[0]
    assert record.found == any(breaks for _, breaks in tries)
    if record.found:
        assert record.judged is not None
        assert record.judged.size == min(sizes)
        assert record.entry == sizes.index(min(sizes))


def test_a_success_stays_whatever_comes_after() -> None:
    """What a later attempt of no success met does not replace the point that broke the sample."""
    ledger = _ledger()
    ledger.enter(_attempt(0.6, Trial(0, 1, 3), _judged(0.6, adversarial=True)))
    assert ledger.is_broken(0)
    ledger.enter(_attempt(0.9))
    record = ledger.records[0]
    assert (record.entry, record.variant, record.step) == (1, 3, 4)
    assert record.x is not None
    assert torch.equal(record.x, _point(0.6))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("confirmed", [False, True])
def test_a_check_that_says_otherwise_is_booked(late: bool, claimed: bool, confirmed: bool) -> None:
    """Search and model disagree either way; only a model that contradicts itself is doubtful."""
    ledger = _ledger(late=late)
    seen = Confirmed(_judged(0.6, adversarial=confirmed), _point(0.6), n_forward=2)
    assert ledger.book_check(0, claimed, seen) == (claimed and not confirmed)
    assert ledger.records[0].n_forward == 1 + 2
    assert ledger.disagreements == (claimed != confirmed)
    assert ledger.records[0].status == (
        UNCONFIRMED if claimed and not confirmed and not late else OK
    )


def test_each_verdict_is_told_once() -> None:
    """At all budgets, in the order of decision, with the margin of the model at the worst point."""
    ledger = _ledger("l2:0.3,0.6,0.9", samples=5)
    ledger.wrong_from_the_start(3)
    ledger.enter(_attempt(0.2))
    ledger.come_to(0, 1)
    ledger.enter(_attempt(0.55, Trial(1, 2, 1), _judged(0.55, adversarial=True)))
    ledger.decide(0)
    ledger.decide(1)
    found = ledger.take_verdicts(2)
    assert [(v.sample, v.eps_index) for v, _ in found] == [
        (i, n) for i in (3, 0, 1) for n in range(3)
    ]
    assert ledger.take_verdicts(2) == []
    by = {(v.sample, v.eps_index): (v, x) for v, x in found}
    assert [by[3, n][0].entry for n in range(3)] == [CLEAN] * 3
    assert [by[0, n][0].adversarial for n in range(3)] == [False, True, True]
    assert [by[0, n][0].l2 for n in range(3)] == pytest.approx([0.2, 0.55, 0.55])
    margins = [2 * SLOPE * (LINE - START - d) for d in (0.2, 0.55, 0.55)]
    assert [by[0, n][0].adv_margin for n in range(3)] == pytest.approx(margins, abs=1e-5)
    # Clean pass, first attempt, the last look at its point; then both attempts.
    assert [by[0, n][0].n_forward for n in range(3)] == [1 + 5 + 1, 1 + 10, 1 + 10]
    assert [by[1, n][1] for n in range(3)] == [None] * 3
    assert all(by[1, n][0].adv_margin == by[1, n][0].clean_margin for n in range(3))
    assert {v.status for v, _ in found} == {OK}


@pytest.mark.parametrize("keep", [False, True])
def test_points_are_dropped_unless_they_are_kept(keep: bool) -> None:
    """Of a broken sample; a robust one's is needed for the last look."""
    ledger = _ledger(keep=keep)
    ledger.enter(_attempt(0.6, judged=_judged(0.6, adversarial=True)))
    ledger.enter(_attempt(0.2)._replace(sample=1))
    for i in (0, 1):
        ledger.decide(i)
    (broken, point), (robust, worst) = ledger.take_verdicts(8)
    assert (point is not None) == keep
    assert worst is not None
    assert broken.l2 == pytest.approx(0.6)
    assert robust.l2 == pytest.approx(0.2)


@pytest.mark.parametrize("broken", [False, True])
def test_given_up(broken: bool) -> None:
    """Unfinished, unless it was broken by then."""
    ledger = _ledger()
    if broken:
        ledger.enter(_attempt(0.6, judged=_judged(0.6, adversarial=True)))
    ledger.give_up(0)
    ((verdict, _),) = ledger.take_verdicts(8)
    assert verdict.adversarial == broken
    assert verdict.status == (OK if broken else UNFINISHED)


def test_a_stored_point_counts_from_its_budget_on() -> None:
    """Below, the sample holds; from there on nothing else is asked."""
    ledger = _ledger("l2:0.3,0.6,0.9")
    ledger.records[0].replayed = (1, _point(0.55), _judged(0.55, adversarial=True))
    ledger.come_to(0, 0)
    assert not ledger.is_broken(0)
    ledger.come_to(0, 1)
    assert ledger.is_broken(0)
    ledger.decide(0)
    found = [verdict for verdict, _ in ledger.take_verdicts(8)]
    assert [v.adversarial for v in found] == [False, True, True]
    assert [v.entry for v in found] == [NOTHING, REPLAY, REPLAY]


def test_clean_logits_that_are_no_numbers_are_told() -> None:
    """Such a sample is wrong from the start, and says why."""
    ledger = _ledger()
    ledger.answered[0] = False
    ledger.wrong_from_the_start(0)
    ledger.wrong_from_the_start(1)
    found = [verdict for verdict, _ in ledger.take_verdicts(8)]
    assert [v.status for v in found] == [NON_FINITE, OK]
    assert [v.n_nonfinite for v in found] == [1, 0]


def test_a_point_that_only_the_last_look_finds_wrong() -> None:
    """With a fast model it counts, from its budget on; without one it cannot be."""
    for late in (False, True):
        ledger = _ledger("l2:0.3,0.6,0.9", late=late)
        ledger.come_to(0, 1)
        ledger.enter(_attempt(0.55, Trial(1, 2, 1)))
        ledger.decide(0)
        found = [verdict for verdict, _ in ledger.take_verdicts(8)]
        assert [v.adversarial for v in found] == [False, late, late]
        assert found[2].entry == (2 if late else NOTHING)
