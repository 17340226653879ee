"""The answer to a query, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from robbench.core.escaping import one_line
from robbench.reports.terminal.fitted import FittedTable, Head, cell
from robbench.reports.texts import NOTHING

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 200


def query_table(answer: pa.Table, rows: int = SHOWN_ROWS) -> RenderableType:
    """The first rows of an Arrow table: a table, or a line per column where it is too wide."""
    shown = answer.slice(0, rows)
    heads = [
        Head(one_line(name), one_line(name), right=_is_number(column.type))
        for name, column in zip(shown.column_names, shown.columns, strict=True)
    ]
    columns = [[cell(_text(value)) for value in column.to_pylist()] for column in shown.columns]
    cells = [*zip(*columns, strict=True)]
    return FittedTable("", heads, cells, [""] * len(cells), name=None, gap=3)


def _is_number(kind: pa.DataType) -> bool:
    return kind not in ("string", "bool") and not str(kind).startswith(("dictionary", "binary"))


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)
