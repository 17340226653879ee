"""Rows of a comparison sorted, against plain sorting."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.reports.sorting import sort_rows

VALUES = st.lists(st.none() | st.floats() | st.integers(-3, 3).map(float), min_size=1, max_size=10)


def _bits(rows: list[Any], key: str = "place") -> list[int]:
    return [row[key] for row in rows]


@given(
    VALUES,
    st.sampled_from(["robust_accuracy", "n_forward", "wall_s"]),
    st.sampled_from(["", ":asc", ":desc"]),
)
def test_sorting_is_stable_and_what_is_missing_is_last(
    values: list[float | None], name: str, order: str
) -> None:
    """Accuracies fall, costs rise, unless an order is asked for; equal rows stay as they were."""
    rows = [{name: value, "place": n} for n, value in enumerate(values)]
    found = sort_rows(rows, name.replace("_", "-") + order)
    there = [n for n, v in enumerate(values) if v is not None and not math.isnan(v)]
    falls = order == ":desc" or (not order and name == "robust_accuracy")
    sign = -1 if falls else 1
    expected = sorted(there, key=lambda n: sign * values[n])  # type: ignore[operator]
    assert _bits(found) == expected + [n for n in range(len(values)) if n not in there]


def test_text_is_sorted_by_the_alphabet() -> None:
    rows = [{"model": name, "place": n} for n, name in enumerate(["b", "a", "c"])]
    assert _bits(sort_rows(rows, "model")) == [1, 0, 2]
    assert _bits(sort_rows(rows, "model:desc")) == [2, 0, 1]


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("robus_accuracy", "did you mean robust_accuracy"),
        ("robust_accuracy:up", "asc or"),
        ("warnings", "unknown column"),
    ],
)
def test_what_cannot_be_sorted_by(by: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        sort_rows([{"robust_accuracy": 0.5, "warnings": []}], by)


@pytest.mark.parametrize(
    ("by", "places"),
    [
        ("margins", [1, 0, 2]),
        ("margins:asc", [2, 0, 1]),
        ("rejections", [2, 1, 0]),
        ("difference", [1, 2, 0]),
        ("queries", [2, 0, 1]),
        ("queries:desc", [1, 0, 2]),
    ],
)
def test_a_column_of_several_values_sorts_by_the_one_that_it_is_about(
    by: str, places: list[int]
) -> None:
    """Under attack rather than clean, the difference rather than its baseline, the whole cost."""
    names = ("clean_margin_p50", "adv_margin_p50", "clean_rejection_rate", "adv_rejection_rate")
    names += ("baseline", "robust_difference", "n_samples", "n_forward", "n_backward")
    rows = [
        dict(zip((*names, "place"), (*values, n), strict=True))
        for n, values in enumerate(
            [
                (9.0, 2.0, 0.3, 0.1, "a", None, 10, 30, 30),
                (1.0, 3.0, 0.2, 0.2, "a", 0.1, 10, 40, 30),
                (5.0, 1.0, 0.1, 0.3, "a", -0.1, 40, 50, 30),
            ]
        )
    ]
    assert _bits(sort_rows(rows, by)) == places
