"""Forecasts are sums and products of what is known, and claim nothing that is not."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.analysis.forecast import (
    AUDIT,
    LOOKS,
    START,
    Forecast,
    Part,
    Range,
    by_attack,
    together,
)

PARTS = (
    Part(LOOKS, 5, 0.001, (2.0, 4.0)),
    Part("apgd", 200, 0.01, (50.0, 90.0)),
    Part("square", 5000, 0.002, (1000.0, 3000.0)),
)
KNOWN = Forecast(10, PARTS, ("run1", "run2"), "cpu (1 thread)")


def test_at_most_is_what_a_sample_costs_that_no_attack_breaks():
    assert KNOWN.queries_at_most == 10 * (5 + 200 + 5000)
    assert KNOWN.seconds_at_most == pytest.approx(10 * (0.005 + 2 + 10))


def test_about_is_what_earlier_runs_needed_with_the_least_and_the_most_of_them():
    first, second = 10 * (2 + 50 + 1000), 10 * (4 + 90 + 3000)
    assert KNOWN.queries == Range((first + second) / 2, first, second)
    seconds = [10 * (0.002 + 0.5 + 2), 10 * (0.004 + 0.9 + 6)]
    assert KNOWN.seconds == pytest.approx((sum(seconds) / 2, *seconds))
    name, share = KNOWN.shares()[0]
    assert (name, share) == ("square", pytest.approx(4 / (0.003 + 0.7 + 4)))
    assert sum(share for _, share in KNOWN.shares()) == pytest.approx(1)


def test_without_earlier_runs_there_is_no_estimate_only_a_bound():
    parts = tuple(Part(p.name, p.most, p.seconds) for p in PARTS)
    bound = Forecast(10, parts, (), "cpu")
    assert bound.queries is bound.seconds is None
    assert bound.queries_at_most == KNOWN.queries_at_most
    assert bound.shares()[0] == ("square", pytest.approx(10 / 12.005))


def test_an_attack_that_does_not_say_what_it_costs_leaves_no_bound():
    parts = (*PARTS[:1], Part("foreign", None, 0.01, (70.0, 90.0)))
    unknown = Forecast(10, parts, ("run1", "run2"), "cpu")
    assert unknown.unknown == ["foreign"]
    assert unknown.queries_at_most is unknown.seconds_at_most is None
    assert unknown.queries == Range(10 * (3 + 80), 10 * 72, 10 * 94)
    limited = Forecast(10, parts, (), "cpu", max_seconds=60.0)
    assert limited.seconds_at_most == 60


def test_a_limit_of_time_cuts_both():
    limited = Forecast(10, PARTS, ("run1", "run2"), "cpu", max_seconds=30.0)
    assert limited.seconds_at_most == 30
    assert limited.seconds == pytest.approx((30, 10 * 2.502, 30))


def test_jobs_after_one_another_add_up():
    other = Forecast(30, PARTS[:2], ("run2", "run3"), "cpu (1 thread)")
    both = together([KNOWN, other])
    assert both.queries_at_most == KNOWN.queries_at_most + other.queries_at_most
    assert both.seconds_at_most == pytest.approx(KNOWN.seconds_at_most + other.seconds_at_most)
    assert both.queries.mean == pytest.approx(KNOWN.queries.mean + other.queries.mean)
    assert both.seconds.mean == pytest.approx(KNOWN.seconds.mean + other.seconds.mean)
    assert both.runs == ("run1", "run2", "run3")
    blind = Forecast(30, tuple(Part(p.name, p.most, p.seconds) for p in PARTS), (), "cpu")
    assert together([KNOWN, blind]).queries is None
    assert together([KNOWN, blind]).queries_at_most == 40 * 5205


def row(queries: int, broken_by: str | None) -> dict:
    return {"n_forward": queries - queries // 3, "n_backward": queries // 3, "broken_by": broken_by}


def test_what_a_sample_paid_goes_to_the_attacks_it_came_to():
    """Each attack in full but the last one it came to."""
    rows = [row(1, "clean"), row(30, "a"), row(5 + 100 + 40, "b"), row(5 + 100 + 400, None)]
    assert by_attack(rows, ["a", "b"], [5, 100, 400]) == [
        (1 + 5 + 5 + 5) / 4,
        (25 + 100 + 100) / 4,
        (40 + 400) / 4,
    ]
    assert by_attack([], ["a"], [5, 100]) == [0, 0]


@given(
    st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from(["clean", "replay", "a", "b", "c", None])),
        min_size=1,
    )
)
def test_no_query_is_lost(samples):
    found = by_attack([row(*one) for one in samples], ["a", "b", "c"], [5, 100, None, 300])
    assert sum(found) == pytest.approx(sum(n for n, _ in samples) / len(samples))
    assert min(found) >= 0


def test_fields_are_plain():
    import json

    fields = json.loads(json.dumps(KNOWN.fields()))
    assert fields["queries_at_most"] == 52050
    assert fields["from_runs"] == ["run1", "run2"]
    assert [part["name"] for part in fields["parts"]] == [LOOKS, "apgd", "square"]


def test_a_look_at_the_model_comes_before_all_samples():
    """Once, however many there are, and within the limit of time."""
    later = dataclasses.replace(KNOWN, start=7.0)
    assert later.seconds_at_most == pytest.approx(KNOWN.seconds_at_most + 7)
    assert later.seconds.low == pytest.approx(KNOWN.seconds.low + 7)
    assert later.queries_at_most == KNOWN.queries_at_most
    assert dict(later.shares())[START] == pytest.approx(7 / later.seconds.mean)
    assert together([later, later]).start == 14
    limited = dataclasses.replace(later, max_seconds=3.0)
    assert limited.seconds_at_most == limited.seconds.high == 3


def test_an_audit_takes_what_is_left_of_audited_samples_alone() -> None:
    """Of three samples: broken by the run's attack, left by it, and broken by the audit's."""
    rows = [
        {"n_forward": 4, "n_backward": 0, "broken_by": "pgd", "audited": False},
        {"n_forward": 11, "n_backward": 0, "broken_by": None, "audited": False},
        {"n_forward": 18, "n_backward": 0, "broken_by": "square", "audited": True},
    ]
    names = ["pgd", f"{AUDIT}apgd", f"{AUDIT}square"]
    found = by_attack(rows, names, [1.0, 10.0, 5.0, 100.0])
    assert found == [1.0, (3 + 10 + 10) / 3, 5 / 3, 2 / 3]
