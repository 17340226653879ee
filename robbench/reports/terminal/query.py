"""The answer to a query, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.reports.texts import NOTHING

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 200
_SIDE_BY_SIDE = 10
"""More columns than this do not fit beside each other."""


def query_table(answer: pa.Table, rows: int = SHOWN_ROWS) -> RenderableType:
    """The first rows of an Arrow table: a table, or a line per column where it has many."""
    shown = answer.slice(0, rows)
    values = [[_text(value) for value in column.to_pylist()] for column in shown.columns]
    if len(values) <= _SIDE_BY_SIDE:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
        for name, column in zip(answer.column_names, shown.columns, strict=True):
            number = column.type not in ("string", "bool") and not str(column.type).startswith(
                ("dictionary", "binary")
            )
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in zip(*values, strict=True):
            table.add_row(*map(Text, row))
        return table
    return Group(
        *(_record(answer.column_names, [column[i] for column in values]) for i in range(len(shown)))
    )


def _record(names: list[str], row: list[str]) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in zip(names, row, strict=True):
        table.add_row(name, Text(text))
    return Group(table, Text())


def _text(value: Any) -> str:
    if value is None:
        return NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)
