"""The rows of a comparison in the order of a value."""

from __future__ import annotations

from collections.abc import Sequence

from robbench.core.errors import UserError, unknown
from robbench.reports.columns import Row, column

_LOWER_IS_BETTER = (
    "adversarial_ratio",
    "wall_s",
    "mcnemar_p",
    "p_holm",
    "lost",
    "audit_missed_high",
)


def sort_rows(rows: Sequence[Row], by: str) -> list[Row]:
    """The rows by a value, best first: the largest, of costs and p values the smallest.

    Text comes in alphabetical order; `name:asc` and `name:desc` choose the order. What is missing
    or not a number comes last. Raises UserError for another name.
    """
    given, _, order = by.partition(":")
    name = given.strip().replace("-", "_")
    name = column(name).keys[0] if rows and name not in rows[0] else name
    if rows and (name not in rows[0] or isinstance(rows[0][name], list)):
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
        or any(isinstance(row[name], str) for row in rows)
    )
    known = [row for row in rows if row[name] is not None and row[name] == row[name]]
    unknown_ = [row for row in rows if row[name] is None or row[name] != row[name]]
    return [
        *sorted(
            known,
            key=lambda row: row[name],
            reverse=order == "desc" or (not order and not ascending),
        ),
        *unknown_,
    ]
