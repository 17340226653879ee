"""Subsets in brackets, and limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.data.load import load
from robbench.data.subset import few_classes, select, split_subsets


def test_class_subset_renumbers_in_the_order_written() -> None:
    """digits[8,3] holds exactly the 8s as class 0 and the 3s as class 1, in file order."""
    whole, pair = load("digits", "test"), load("digits[8,3]", "test")
    kept = (whole.labels == 8) | (whole.labels == 3)
    assert pair.classes == ("8", "3")
    assert torch.equal(pair.images, whole.images[kept])
    assert torch.equal(pair.labels, (whole.labels[kept] == 3).long())


def test_subsets_chain_from_left_to_right() -> None:
    """[3,8][first=20] takes 20 of the pair, [first=20][3,8] the pair among the first 20."""
    assert len(load("digits[3,8][first=20]", "train")) == 20
    whole = load("digits", "train", limit=20)
    assert len(load("digits[first=20][3,8]", "train")) == int(
        ((whole.labels == 3) | (whole.labels == 8)).sum()
    )


@pytest.mark.parametrize("limit", [7, "7", "first=7"])
def test_a_limit_is_first(limit: int | str) -> None:
    """limit=7 gives the same samples as [first=7], whichever way it is written."""
    assert torch.equal(load("digits", "test", limit=limit).ids, load("digits[first=7]", "test").ids)


def test_a_stratified_limit_is_a_stratified_subset() -> None:
    """limit='stratified=30' gives three samples of every digit."""
    assert torch.bincount(load("digits", "test", limit="stratified=30").labels).tolist() == [3] * 10


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), n=st.integers(1, 40))
def test_stratified_prefixes_are_nested_and_even(labels: list[int], n: int) -> None:
    """[stratified=n] is a prefix of [stratified=n+1], even until a class ends, in file order."""
    table = np.array(labels, np.int64)
    classes = tuple("abcde")
    smaller, larger = (select([f"stratified={count}"], table, classes).rows for count in (n, n + 1))
    assert len(smaller) == min(n, len(labels))
    assert np.array_equal(larger[: len(smaller)], smaller)
    available, taken = np.bincount(table, minlength=5), np.bincount(table[smaller], minlength=5)
    open_classes = taken < available
    if open_classes.any():
        assert taken.max() - taken[open_classes].min() <= 1
    for label in range(5):
        assert np.array_equal(
            smaller[table[smaller] == label], np.flatnonzero(table == label)[: taken[label]]
        )


def test_a_class_subset_without_samples_is_an_error() -> None:
    """A subset that selects nothing is refused rather than passed on as an empty split."""
    with pytest.raises(UserError, match=r"\[b,c\] selects nothing"):
        select(["b,c"], np.zeros(4, np.int64), ("a", "b", "c"))


def test_an_index_names_a_class_unless_names_are_numbers() -> None:
    """[7,0] means the classes at these places, but where names are numbers it means the names."""
    assert select(["1,0"], np.array([0, 1]), ("cat", "dog")).classes == ("dog", "cat")
    assert select(["7,3"], np.array([0, 1]), ("3", "7")).classes == ("7", "3")


def test_brackets_inside_a_folder_name_stay_in_it() -> None:
    """Only brackets at the end are subsets."""
    assert split_subsets("folder:a[1]b/c[x,y][first=3]") == ("folder:a[1]b/c", ["x,y", "first=3"])


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        (
            ["first=3"],
            "all 3 samples are of one class (a), the data have 3; "
            "the limit stratified=3 takes of every class",
        ),
        (
            ["first=4"],
            "all 4 samples are of 2 classes, the data have 3; the limit stratified=4 takes of "
            "every class",
        ),
        (["first=7"], None),
        (["first=1"], None),
        (["stratified=2"], None),
        (
            ["b,c", "first=2"],
            "all 2 samples are of one class (b), the data have 2; "
            "the limit stratified=2 takes of every class",
        ),
        (["a,b"], None),
        ([], None),
    ],
)
def test_a_limit_that_misses_classes_is_told(subsets: list[str], said: str | None) -> None:
    """First samples of fewer classes than stratified ones are noted, if it can be better."""
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    assert few_classes(subsets, labels, ("a", "b", "c", "never there")) == ([said] if said else [])


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.repeat([0, 1, 2, 0, 1, 2], 50), True),  # two files, each in the order of its classes
        (np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 100)), False),
    ],
)
def test_what_chance_leaves_out_is_not_told(labels: NDArray[np.int64], told: bool) -> None:
    """The first two samples of shuffled data may be of one class: no note."""
    first = int(np.flatnonzero(labels[1:] == labels[:-1])[0])
    labels = np.roll(labels, -first)
    assert bool(few_classes(["first=2"], labels, ("a", "b", "c"))) == told


def test_a_name_of_two_classes_chooses_neither() -> None:
    """As crane is a bird and a machine."""
    with pytest.raises(UserError, match="'crane' is the name of 2 classes"):
        select(["crane,dog"], np.array([0, 1, 2]), ("crane", "dog", "crane"))
