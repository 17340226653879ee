"""Rows become tables of the schema, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from robbench.store.from_rows import samples_table, to_table
from robbench.store.schema import RUNS, SAMPLES


@pytest.mark.parametrize("column", [field.name for field in SAMPLES if not field.nullable])
def test_null_in_a_column_that_has_none(column: str, make_samples: Callable[..., Any]) -> None:
    """A null, or a missing key, is an error that names the column (run_id is filled in)."""
    rows = make_samples(3)
    rows[1][column] = None
    with pytest.raises(ValueError, match=rf"samples\.{column} must not be null"):
        samples_table("abc", rows)


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("sample_id", 1.5, TypeError),
        ("label", 2**31, ValueError),
        ("label", "3", ValueError),
        ("clean_margin", "big", ValueError),
        ("robust", 2, ValueError),
        ("n_forward", True, TypeError),
        ("surprise", 1, ValueError),
    ],
)
def test_wrong_values_name_their_column(
    column: str, value: Any, error: type, make_samples: Callable[..., Any]
) -> None:
    """Fractions, overflows, wrong types and unknown columns are errors, never rounded."""
    rows = make_samples(3)
    rows[1][column] = value
    with pytest.raises(error, match=column):
        samples_table("abc", rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversarial": True, "robust": True}, "either"),
        ({"adversarial": False, "robust": False}, "either"),
        ({"clean_correct": False, "adversarial": False, "robust": True}, "misclassified"),
        ({"sample_id": 1000}, "1000 appears twice"),
        ({"run_id": "other"}, "does not belong to run abc"),
    ],
)
def test_contradictions_are_refused(
    changes: dict[str, Any], message: str, make_samples: Callable[..., Any]
) -> None:
    """A table never breaks the definitions of the vocabulary."""
    rows = make_samples(3)
    rows[2] |= changes
    with pytest.raises(ValueError, match=message):
        samples_table("abc", rows)


def test_samples_are_sorted_and_not_changed(make_samples: Callable[..., Any]) -> None:
    """Any order of rows gives the same table, sorted by index; the caller's rows stay."""
    rows = make_samples(30)
    mixed = rows[::2] + rows[1::2][::-1]
    before = [dict(row) for row in mixed]
    assert samples_table("abc", mixed).equals(samples_table("abc", rows))
    assert samples_table("abc", mixed)["sample_index"].to_pylist() == list(range(30))
    assert mixed == before


def test_no_rows_make_an_empty_table() -> None:
    """No rows: no error, all columns."""
    assert samples_table("abc", []).schema.equals(SAMPLES)


def test_times_are_stored_as_naive_utc(
    make_samples: Callable[..., Any], make_run: Callable[..., Any]
) -> None:
    """An aware time is converted, a naive one is taken as it is."""
    zone = timezone(timedelta(hours=2))
    run = make_run(
        "abc",
        make_samples(),
        started_at=datetime(2026, 1, 1, 12, tzinfo=zone),
        finished_at=datetime(2026, 1, 1, 11),
    )
    row = to_table(RUNS, [run], schema_version=1, status="done").to_pylist()[0]
    assert (row["started_at"], row["finished_at"]) == (
        datetime(2026, 1, 1, 10),
        datetime(2026, 1, 1, 11),
    )
