"""What files of schema versions 1 and 2 hold, in the columns of today.

Version 3: `max_time_s` and `max_queries` instead of `budget`, which was text such as `90s` or
`5000q`, or null. Version 2: wider integers, which reading casts anyway.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import pyarrow as pa

from robbench.core.errors import UserError
from robbench.core.limits import Limits
from robbench.store.schema import SCHEMA_VERSION

UPGRADED = (1, 2)
"""Versions whose rows say, once upgraded, all that a row of today says."""
_LIMITS = ("max_time_s", "max_queries")


def former_columns(kind: str, wanted: Collection[str], present: Collection[str]) -> list[str]:
    """Which columns of a file have to be read besides, because `wanted` ones are made of them."""
    made = [name for name in _LIMITS if name in wanted and name not in present]
    return ["budget"] if kind == "runs" and made and "budget" in present else []


def made_columns(kind: str, present: Collection[str]) -> list[str]:
    """Which columns `upgrade` adds to a file with columns `present`."""
    return [*_LIMITS] if former_columns(kind, _LIMITS, present) else []


def upgrade(table: pa.Table, version: int, where: str) -> pa.Table:
    """The columns read from a file of an earlier version, as they are called now.

    Raises UserError, beginning with `where`, for a limit that cannot be read.
    """
    if version in UPGRADED and "schema_version" in table.column_names:
        index = table.schema.get_field_index("schema_version")
        table = table.set_column(
            index, "schema_version", pa.repeat(pa.scalar(SCHEMA_VERSION, pa.int16()), len(table))
        )
    if "budget" in table.column_names:
        found = [_limits(text, where) for text in table["budget"].to_pylist()]
        table = table.drop_columns("budget")
        table = table.append_column(
            "max_time_s", pa.array([f.seconds for f in found], pa.float64())
        )
        table = table.append_column("max_queries", pa.array([f.queries for f in found], pa.int64()))
    return table


def _limits(text: str | None, where: str) -> Limits:
    if text is None or text == "none":
        return Limits()
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]+)?)s|([0-9]{1,12})q", str(text))
    if match is None:
        raise UserError(
            f"{where}: column budget holds {repr(text)[:100]}, which is neither a time such as 90s "
            "nor queries such as 5000q"
        )
    return Limits(queries=int(match[2])) if match[2] else Limits(seconds=float(match[1]))
