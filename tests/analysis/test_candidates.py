"""What a candidate costs and breaks, counted by hand."""

from __future__ import annotations

import numpy as np

from robbench.analysis.candidates import Candidate, Price, outcome, walk
from robbench.analysis.tried import AT_THE_END, BROKE, FAILED, UNKNOWN, Tried


def _known(states: list[int], variants: list[int], steps: list[int], classes: list[int]) -> Tried:
    n = len(states)
    columns = [np.array(values).reshape(n, 1) for values in (states, variants, steps)]
    return Tried(np.arange(n), np.array(classes), np.zeros(n, bool), ("a",), *columns, (), 0)


def test_queries_until_a_success() -> None:
    """Every variant makes 4 moves and a query more; a query with a gradient is one backward."""
    price = Price(variants=3, steps=4, forward=1, backward=1, before=(1, 10))
    assert price.queries(0, 0) == (1 + 1, 10 + 1)
    assert price.queries(1, 2) == (1 + 5 + 3, 10 + 4 + 3)
    assert price.queries(0, 4) == (1 + 5, 10 + 4)  # the last query has no gradient
    assert price.queries(0, AT_THE_END) == price.queries(0, 4)
    assert price.whole == (1 + 15, 10 + 12)
    assert Price(1, 4, forward=20, backward=1).whole == (100, 80)  # each asked 20 times


def test_a_cut_loses_later_successes() -> None:
    """It breaks what the longer one broke inside it, and costs all where it does not."""
    known = _known(
        [BROKE, BROKE, BROKE, FAILED, UNKNOWN, BROKE],
        [0, 0, 1, 0, 0, 0],
        [2, 6, 1, 0, 0, AT_THE_END],
        [3, 3, 3, 3, 3, 3],
    )
    whole = outcome(known, Candidate("a", "a", {3: Price(2, 9, 1, 0)}))
    assert whole.broke.tolist() == [True, True, True, False, False, True]
    assert whole.forward.tolist() == [3, 7, 12, 20, 20, 10]
    cut = outcome(known, Candidate("a:steps=4", "a", {3: Price(1, 4, 1, 0)}, cut=True))
    assert cut.broke.tolist() == [True, False, False, False, False, False]
    assert cut.forward.tolist() == [3, 5, 5, 5, 5, 5]
    assert cut.seen.tolist() == [True, True, True, True, False, True]


def test_prices_depend_on_the_classes() -> None:
    """A model of 3 classes has 2 targets, one of 10 has 9."""
    known = _known([FAILED, FAILED], [0, 0], [0, 0], [3, 10])
    one = Candidate("a", "a", {3: Price(2, 4, 1, 1), 10: Price(9, 4, 1, 1)})
    assert outcome(known, one).forward.tolist() == [10, 45]
    assert one.most == 45 + 36


def test_a_broken_sample_leaves() -> None:
    """It pays nothing for later attacks; an empty cascade breaks nothing."""
    known = _known([BROKE, FAILED], [0, 0], [1, 0], [3, 3])
    one = outcome(known, Candidate("a", "a", {3: Price(1, 4, 1, 1)}))
    broken, forward, backward = walk([one, one])
    assert broken.tolist() == [True, False]
    assert (forward.tolist(), backward.tolist()) == ([2, 10], [2, 8])
