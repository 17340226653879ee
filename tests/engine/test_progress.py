"""The share of all work that is done, and who is where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.engine.progress import EntryProgress, Left, Meter, Work, left


@given(
    st.integers(1, 50).flatmap(
        lambda most: st.tuples(
            st.just(most), st.lists(st.integers(0, most), min_size=1, max_size=30)
        )
    )
)
def test_the_share_rises_to_one(run: tuple[int, list[int]]) -> None:
    """Samples take any number of steps up to the most; each, once done, counts in full."""
    most, steps = run
    meter = Meter(["pgd"], len(steps), most)
    shares = [meter.share]
    for n, taken in enumerate(steps):
        for _ in range(taken):
            meter.take(1)
            shares.append(meter.share)
        meter.finish(1, taken)
        shares.append(meter.share)
        assert abs(meter.share - (n + 1) / len(steps)) < 1e-12
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)


def test_work_in_flight_counts_and_never_for_more_than_is_left() -> None:
    """Of 4 samples with 10 steps each, one done and 6 steps of others: 16 of 40."""
    meter = Meter(["pgd"], 4, 10)
    meter.take(9 + 6)
    meter.finish(1, 9)
    assert meter.share == 16 / 40
    meter.open = 1000
    assert meter.share == 1
    meter.open = -3
    assert meter.share == 1 / 4


def test_no_samples_are_no_division_by_zero() -> None:
    """An empty split is at 0, and stays there."""
    assert Meter(["pgd"], 0, 10).share == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["reach", "found", "held"]))))
def test_entries_are_counted_apart(events: list[tuple[int, str]]) -> None:
    """Each event moves the counts of its own entry only; earlier pictures stay as they were."""
    meter = Meter(["a", "b", "c"], 100, 1)
    before = list(meter.entries)
    for entry, event in events:
        if event == "reach":
            meter.reach(entry)
        else:
            meter.leave(entry, found=event == "found")
    assert before == [EntryProgress("a"), EntryProgress("b"), EntryProgress("c")]
    for k, spec in enumerate("abc"):
        mine = [event for entry, event in events if entry == k]
        assert meter.entries[k] == EntryProgress(
            spec, mine.count("reach"), len(mine) - mine.count("reach"), mine.count("found")
        )


def test_before_any_step_nothing_is_known_of_the_time_left() -> None:
    assert left(Work(samples=10, per_sample=100, waiting=10), 0.0) == Left(None, None)


def test_samples_under_attack_may_need_all_that_is_left_of_their_bound() -> None:
    """Ten samples, all under attack, a fifth of the way in 4 s: at most 16 s."""
    work = Work(samples=10, begun=10, per_sample=100, spent=200, open=200)
    assert left(work, 4.0) == Left(16.0, 16.0)


def test_what_waits_is_told_from_what_was_attacked() -> None:
    """Of 40 samples 20 were attacked: 10 fell after 10 steps each, 10 are half through 100.

    Those need 500 more; the others (100 + 1000) / 20 = 55 each, at most 100.
    """
    work = Work(samples=40, decided=10, begun=20, waiting=20, per_sample=100, spent=600, open=500)
    found = left(work, 6.0)
    assert found.about == pytest.approx((500 + 20 * 55) / 100)
    assert found.at_most == pytest.approx((500 + 20 * 100) / 100)


def test_a_forecast_counts_first_and_fades() -> None:
    """Nothing decided: it alone. A quarter decided: three quarters of it."""
    start = Work(samples=4, begun=4, per_sample=100, spent=40, open=40)
    assert left(start, 4.0, expected=140).about == pytest.approx((140 - 40) / 10)
    later = Work(samples=4, begun=4, decided=1, per_sample=100, spent=140, open=130)
    seen = 3 * 100 - 130
    assert left(later, 14.0, expected=200).about == pytest.approx(
        (0.25 * seen + 0.75 * (200 - 140)) / 10
    )
    assert left(start, 4.0, expected=10_000) == left(start, 4.0)  # no more than at most
    assert left(start, 4.0, expected=10).about == 0


def test_the_meter_says_who_waits() -> None:
    """Of 10 samples 2 were wrong from the start, 5 are under attack."""
    meter = Meter(["pgd"], 10, 20.0)
    meter.finish(2, 0)
    meter.skipped, meter.begun = 2, 5
    meter.take(30.0, 60.0)
    assert meter.now == Work(
        samples=10,
        decided=2,
        begun=5,
        waiting=3,
        per_sample=20.0,
        spent=30.0,
        open=30.0,
        queries=60,
    )


def test_small_weights_still_end_at_one() -> None:
    """All work of a run may take less than a second."""
    meter = Meter(["pgd"], 4, 1e-3)
    for _ in range(4):
        meter.take(1e-3)
        meter.finish(1, 1e-3)
    assert meter.share == pytest.approx(1)
