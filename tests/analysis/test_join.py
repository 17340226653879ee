"""Samples are joined by their ids, in one order for both."""

from __future__ import annotations

import numpy as np

from robbench.analysis.join import common


def test_the_same_samples_keep_their_order() -> None:
    """Whatever that is."""
    ids = np.array([7, 3, 5])
    here, there = common(ids, ids.copy())
    assert here.tolist() == there.tolist() == [0, 1, 2]


def test_only_what_both_have_is_joined() -> None:
    """Each position leads to the same id."""
    ids, others = np.array([7, 3, 5]), np.array([5, 9, 7, 1])
    here, there = common(ids, others)
    assert sorted(ids[here]) == [5, 7]
    assert ids[here].tolist() == others[there].tolist()
    assert [len(each) for each in common(ids, np.array([1]))] == [0, 0]
