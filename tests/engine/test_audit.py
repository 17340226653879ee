"""The draw of an audit: which survivors, whatever the order, the shards and the other samples."""

from __future__ import annotations

import random
from collections import Counter

import torch

from robbench.data.base import Split
from robbench.engine.audit import draw

SIZE = 60


def of_ids(ids: list[int]) -> Split:
    n = len(ids)
    return Split(
        torch.zeros(n, 1, 2, 2, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.int64),
        torch.tensor(ids),
        ("0", "1"),
        "none",
        "test",
    )


IDS = [random.Random(i).getrandbits(63) for i in range(SIZE)]


def drawn(ids: list[int], n: int, seed: int = 0) -> set[int]:
    return {ids[i] for i in draw(range(len(ids)), n, of_ids(ids), seed)}


def test_the_same_samples_are_drawn_in_any_order() -> None:
    """By their ids: places, a reversed order and the order of the survivors do not matter."""
    assert drawn(IDS, 10) == drawn(IDS[::-1], 10)
    backwards = draw(reversed(range(SIZE)), 10, of_ids(IDS), 0)
    assert backwards == draw(range(SIZE), 10, of_ids(IDS), 0)
    assert len(backwards) == 10
    assert backwards == sorted(backwards)


def test_a_survivor_of_more_that_was_drawn_before_is_drawn_again() -> None:
    """The draw of some of the samples has all of the first draw that are among them."""
    first = drawn(IDS, 20)
    for seed in range(20):
        left = random.Random(seed).sample(IDS, 30)
        assert drawn(left, 20) >= first & set(left)


def test_all_are_drawn_where_fewer_are_left_and_none_of_none() -> None:
    """More than there are is no error."""
    assert draw([3, 1], 300, of_ids(IDS), 0) == [1, 3]
    assert draw([], 300, of_ids(IDS), 0) == []


def test_every_sample_is_drawn_about_as_often_over_seeds() -> None:
    """300 seeds: 10 of 60 each, so 50 times a sample, give or take five standard deviations."""
    counts = Counter(i for seed in range(300) for i in drawn(IDS, 10, seed))
    assert set(counts) == set(IDS)
    assert all(abs(n - 50) < 5 * 6.5 for n in counts.values())
