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


def test_a_composed_column_sorts_by_its_first_value() -> None:
    """`margins` is two numbers: the clean one decides."""
    rows = [
        {"clean_margin_p50": value, "adv_margin_p50": -value, "place": n}
        for n, value in enumerate([1.0, 3.0, 2.0])
    ]
    assert _bits(sort_rows(rows, "margins")) == [1, 2, 0]
