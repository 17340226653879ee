"""The rows of a comparison in the order of a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from robbench.core.errors import UserError, unknown
from robbench.reports.columns import Row, column

_LOWER_IS_BETTER = (
    "queries",
    "adversarial_ratio",
    "wall_s",
    "mcnemar_p",
    "p_holm",
    "lost",
    "audit_missed_high",
)


def sort_rows(rows: Sequence[Row], by: str) -> list[Row]:
    """The rows by a value, best first: the largest, of costs and p values the smallest.

    Of `margins` and `rejections` the value under attack counts, of `queries` forwards and
    backwards per sample together, of `difference` that of robust accuracy. Text comes in
    alphabetical order; `name:asc` and `name:desc` choose the order. What is missing or not a
    number comes last. Raises UserError for another name.
    """
    given, _, order = by.partition(":")
    name = given.strip().replace("-", "_")
    composed = column(name).value if rows and name not in rows[0] else None
    value: Callable[[Row], Any] = composed or itemgetter(name)
    if rows and not composed and isinstance(rows[0].get(name, []), list):
        raise unknown(
            "column to sort by",
            given,
            [key for key, value in rows[0].items() if not isinstance(value, list)],
        )
    if order not in ("", "asc", "desc"):
        raise UserError(f"--sort {by}: write {given}, {given}:asc or {given}:desc")
    ascending = (
        name.startswith("n_")
        or name in _LOWER_IS_BETTER
        or any(isinstance(value(row), str) for row in rows)
    )
    known = [row for row in rows if value(row) is not None and value(row) == value(row)]
    unknown_ = [row for row in rows if value(row) is None or value(row) != value(row)]
    return [
        *sorted(
            known,
            key=value,
            reverse=order == "desc" or (not order and not ascending),
        ),
        *unknown_,
    ]
