"""The greedy order against brute force and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from robbench.analysis.candidates import Candidate, Outcome, Price, walk
from robbench.analysis.greedy import greedy
from robbench.core.errors import UserError

HITS = {"a": "0134", "b": "012", "c": "03456"}


def _pool(
    costs: dict[str, int], hits: dict[str, str], n: int = 8
) -> tuple[dict[Candidate, Outcome], Any]:
    """Candidates of one price each, and the samples (digits) that they break at that price."""
    found = {}
    for name, cost in costs.items():
        broke = np.array([str(i) in hits[name] for i in range(n)])
        price = {2: Price(1, cost - 1, 1, 0)}
        spent = np.full(n, cost)
        found[Candidate(name, name, price)] = Outcome(np.ones(n, bool), broke, spent, 0 * spent)
    return found, np.ones(n, bool)


def _names(picked: list[Candidate]) -> str:
    return "".join(one.spec for one in picked)


def test_most_newly_broken_per_query_comes_first() -> None:
    """By hand: a breaks 4 for 4 each, b 3 for 2, c 5 for 11; after b all that a adds is 2 for 4.

    Rates: a 4/32, b 3/16, c 5/88: b. Of the 5 left: a 2/20, c 4/55: a. Of the 3 left: c 2/33.
    """
    pool, side = _pool({"a": 4, "b": 2, "c": 11}, HITS)
    assert _names(greedy(pool, side, None)) == "bac"


def test_only_its_own_side_counts() -> None:
    """What an attack breaks on the other half does not make it better."""
    pool, side = _pool({"a": 2, "b": 2}, {"a": "4567", "b": "01"})
    assert _names(greedy(pool, side & (np.arange(8) < 4), None)) == "b"


def test_an_attack_is_dropped_where_the_others_make_it_superfluous() -> None:
    """All that a broke falls to b and c. With c for 9: 16 + 20 + 27 queries, without a 16 + 45."""
    pool, side = _pool({"a": 4, "b": 2, "c": 9}, HITS)
    assert _names(greedy(pool, side, None)) == "bc"
    pool, side = _pool({"a": 1, "b": 9}, {"a": "0", "b": "01234567"})
    assert _names(greedy(pool, side, None)) == "ab"  # 8 + 63 queries; b alone takes 72


def test_a_limit_of_queries() -> None:
    """What does not fit is passed over; what has become superfluous takes no room."""
    pool, side = _pool({"a": 4, "b": 2, "c": 11}, HITS)
    assert [_names(greedy(pool, side, limit)) for limit in (5, 16, 17)] == ["b", "ba", "bac"]
    with pytest.raises(UserError, match=r"cheapest, b, takes 2: raise --max-queries"):
        greedy(pool, side, 1)
    pool, side = _pool({"a": 4, "b": 2, "c": 9}, HITS)
    assert [_names(greedy(pool, side, limit)) for limit in (10, 11)] == ["ba", "bc"]


def test_nothing_to_choose_by() -> None:
    """No attack broke a sample."""
    pool, side = _pool({"a": 4}, {"a": ""})
    with pytest.raises(UserError, match="nothing to choose"):
        greedy(pool, side, None)


@pytest.mark.parametrize("seed", range(20))
def test_against_brute_force(seed: int) -> None:
    """It breaks all that any order of any candidates breaks, and no dropping makes it cheaper."""
    draw = np.random.default_rng(seed)
    names = "abcde"
    costs = {name: int(draw.integers(1, 9)) for name in names}
    hits = {name: "".join(str(i) for i in range(8) if draw.random() < 0.35) for name in names}
    pool, side = _pool(costs, hits)
    if not any(hits.values()):
        return
    picked = greedy(pool, side, None)
    broken, forward, _ = walk([pool[one] for one in picked])
    assert set(np.flatnonzero(broken)) == {int(i) for each in hits.values() for i in each}
    for n in range(1, len(picked)):
        for fewer in itertools.combinations(picked, n):
            less, cost, _ = walk([pool[one] for one in fewer])
            if n == len(picked) - 1 and less.sum() == broken.sum() and fewer[-1] is picked[-1]:
                assert cost.sum() > forward.sum()
