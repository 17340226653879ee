"""Labels in arrays: numbers, texts, booleans; the same class in every split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robbench.core.errors import UserError
from robbench.data.array_labels import class_names, number_array


@pytest.mark.parametrize(
    ("labels", "others", "numbers", "classes"),
    [
        ([0, 2, 1], [], [0, 2, 1], ("0", "1", "2")),
        ([0, 1], [[2]], [0, 1], ("0", "1", "2")),
        ([[0], [1]], [], [0, 1], ("0", "1")),
        ([0.0, 1.0], [], [0, 1], ("0", "1")),
        ([0, 0], [], [0, 0], ("0", "1")),
        (["no", "yes"], [["maybe"]], [1, 2], ("maybe", "no", "yes")),
        ([b"b", b"a"], [], [1, 0], ("a", "b")),
        ([True, False], [], [1, 0], ("false", "true")),
        ([True, False], [["maybe"]], [1, 0], ("False", "True", "maybe")),
        ([2, 1], [["x", "1"]], [1, 0], ("1", "2", "x")),
    ],
)
def test_class_numbers(
    labels: Any, others: Any, numbers: list[int], classes: tuple[str, ...]
) -> None:
    """Texts by name over all splits, numbers as they are, up to the largest of all splits."""
    found = number_array(np.array(labels), [np.array(other) for other in others], ())
    assert found[0].tolist() == numbers
    assert found[0].dtype == np.int64
    assert found[1] == classes


@pytest.mark.parametrize(("labels", "other"), [([True], [3]), ([3], [True])])
def test_booleans_are_in_every_split_or_in_none(labels: Any, other: Any) -> None:
    """Which number is `true` is not guessed."""
    with pytest.raises(UserError, match="write them alike"):
        number_array(np.array(labels), [np.array(other)], ())


def test_classes_can_be_given() -> None:
    """As a number, or as names in their order."""
    assert class_names("") == ()
    assert class_names("3") == ("0", "1", "2")
    assert class_names("no,yes") == ("no", "yes")
    assert number_array(np.array(["yes"]), [], ("no", "yes"))[0].tolist() == [1]
    for text in ("1", "a", "a,a"):
        with pytest.raises(UserError, match="classes="):
            class_names(text)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([0.5, 1.0], "whole numbers or texts"),
        ([np.nan, 1.0], "whole numbers or texts"),
        ([[1, 0], [0, 1]], "argmax(1)"),
        ([0, 10**8], "is no class number"),
    ],
)
def test_what_is_no_label(labels: Any, text: str) -> None:
    """One line."""
    with pytest.raises(UserError) as caught:
        number_array(np.array(labels), [], ())
    assert text in str(caught.value)


def test_a_text_that_is_no_class() -> None:
    """Where the classes were given."""
    with pytest.raises(UserError, match="label 'maybe' is none of the classes no, yes"):
        number_array(np.array(["maybe"]), [], ("no", "yes"))
