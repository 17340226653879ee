"""The numbers of an audit from the rows of its samples, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.analysis.audited import audit_numbers, survives
from robbench.core.status import OK, UNFINISHED
from robbench.statistics.proportions import clopper_pearson


def numbers(audited, robust, unfinished=()):
    late = np.isin(np.arange(len(robust)), unfinished)
    return audit_numbers(audited, np.array(robust, dtype=bool), late)


def test_without_an_audit_nothing_is_known() -> None:
    """All is null."""
    assert set(numbers(None, [True]).values()) == {None}


def test_counts_and_bound_by_hand() -> None:
    """Ten samples, two wrong from the start; of eight survivors four drawn, one broken."""
    audited = [False, False, *[True] * 4, *[False] * 4]
    robust = [False, False, False, *[True] * 7]
    got = numbers(audited, robust)
    assert (got["n_survivors"], got["n_audited"], got["n_audit_broken"]) == (8, 4, 1)
    # If 5 of the 8 would fall, 5 of the 70 draws of four hold one of them (and all 3 others); if 6
    # would, every draw holds two.
    assert got["audit_missed_high"] == 5 / 8
    assert got["robust_accuracy_audited"] == pytest.approx(3 / 10)


def test_all_audited_is_exact() -> None:
    """The bound is the share that broke."""
    got = numbers([True] * 4 + [False], [True, True, False, True, False])
    assert got["audit_missed_high"] == 1 / 4
    assert got["robust_accuracy_audited"] == 3 / 5


def test_no_survivors_have_no_bound() -> None:
    """An audit of nothing."""
    got = numbers([False] * 3, [False] * 3)
    assert list(got.values()) == [0, 0, 0, None, None]


def test_what_is_unfinished_counts_as_broken_in_the_bound() -> None:
    """In the audit; of the run's own attacks it is no survivor, and not robust either."""
    got = numbers([True, True], [True, True], [1])
    assert (got["n_survivors"], got["audit_missed_high"]) == (2, 1 / 2)
    got = numbers([True, False], [True, True], [1])
    assert (got["audit_missed_high"], got["robust_accuracy_audited"]) == (0.0, 0.5)
    assert got["n_survivors"] == 1


def test_of_many_it_is_clopper_and_pearsons() -> None:
    """30,000 survivors, 300 drawn, 2 broken: one-sided, and a little below."""
    audited = [True] * 300 + [False] * 29_700
    got = numbers(audited, [False] * 2 + [True] * 29_998)
    limit = clopper_pearson(2, 300, 0.9)[1]
    assert limit - 2e-4 < got["audit_missed_high"] <= limit


def test_survivors_are_those_before_the_audit() -> None:
    """Also what the audit broke."""
    row = {"robust": True, "status": OK, "audited": None}
    assert survives(row)
    assert not survives({**row, "status": UNFINISHED})
    assert not survives({**row, "robust": False})
    assert survives({**row, "robust": False, "audited": True})
