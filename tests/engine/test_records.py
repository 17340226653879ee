"""The record of one sample: what is counted, what a success writes, which doubt is told."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.status import NON_FINITE, OK, UNCONFIRMED, UNFINISHED
from robbench.engine.records import NOTHING, Attempt, JudgedRow, Record
from robbench.engine.schedule import Trial
from robbench.engine.verify import Judged

COUNTS = ("n_forward", "n_backward", "n_nonfinite", "n_zero_gradient", "work")


def _attempt(counts: tuple[int, ...], *, shown: bool = True) -> Attempt:
    return Attempt(
        0,
        Trial(0, 0, 0),
        torch.zeros(1),
        None,
        1.0,
        **dict(zip(COUNTS, counts, strict=True)),
        shown=shown,
    )


def test_a_judged_row_is_read_in_the_order_it_is_written() -> None:
    """`Judged.rows` fills it by position."""
    assert JudgedRow._fields == Judged._fields


@given(st.lists(st.tuples(*[st.integers(0, 99)] * 5)))
def test_costs_add_up(trials: list[tuple[int, ...]]) -> None:
    """A forward for the clean input, and whatever the trials say."""
    record = Record(1.0)
    for counts in trials:
        record.add(_attempt(counts))
    sums = [sum(column) for column in zip(*trials, strict=True)] or [0] * 5
    assert [
        record.n_forward - 1,
        record.n_backward,
        record.n_nonfinite,
        record.n_zero_gradient,
        record.work,
    ] == sums


@pytest.mark.parametrize(
    ("unfinished", "unconfirmed", "n_nonfinite"),
    list(itertools.product([False, True], [0, 2], [0, 3])),
)
def test_the_gravest_doubt_is_told(unfinished: bool, unconfirmed: int, n_nonfinite: int) -> None:
    """Unfinished before unconfirmed before answers that are no numbers."""
    record = Record(1.0, unfinished=unfinished, unconfirmed=unconfirmed, n_nonfinite=n_nonfinite)
    doubts = [(unfinished, UNFINISHED), (unconfirmed, UNCONFIRMED), (n_nonfinite, NON_FINITE)]
    assert record.status == next((status for holds, status in doubts if holds), OK)


@pytest.mark.parametrize(
    ("shown", "known"), [([], True), ([False], False), ([False, True], True), ([True, False], True)]
)
def test_a_margin_is_known_unless_all_attacks_kept_their_points(
    shown: list[bool], known: bool
) -> None:
    """Before any attack there is the clean margin only; after a success the point's."""
    record = Record(1.0)
    for each in shown:
        record.add(_attempt((0,) * 5, shown=each))
    record.close()
    record.hit(2, 1, 7, torch.ones(1), None)
    record.close()
    before, after = record.outcomes
    assert (before.found, before.known, before.entry, before.x) == (False, known, NOTHING, None)
    assert (after.found, after.known, after.entry, after.variant, after.step) == (
        True,
        True,
        2,
        1,
        7,
    )
    assert before.source == after.source == (NOTHING, -1)


def test_an_outcome_does_not_change_afterwards() -> None:
    """What a larger budget costs is not told of the smaller one."""
    record = Record(1.0)
    record.add(_attempt((5, 4, 0, 0, 1)))
    record.close()
    record.add(_attempt((10, 9, 0, 0, 1)))
    record.close()
    assert [(o.n_forward, o.n_backward) for o in record.outcomes] == [(6, 4), (16, 13)]
