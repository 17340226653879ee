"""The share of all work that is done, and who is where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robbench.engine.progress import EntryProgress, Meter


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
            meter.work += 1
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
    meter.work = 9 + 6
    meter.finish(1, 9)
    assert meter.share == 16 / 40
    meter.work = 1000
    assert meter.share == 1
    meter.work = -3
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
