"""Models under corruptions, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports.columns import Column, Row
from robbench.reports.corrupted import NOTE, by_corruption, groups, summary_columns, title, warnings
from robbench.reports.terminal.fitted import FittedTable, Head, cell


def corrupted_tables(found: Sequence[Row], rows: Sequence[Row]) -> RenderableType:
    """Two tables for models on the same samples: in all, and by corruption.

    found: as of `under_corruptions`; rows: of `compare`, for what their runs warn of.
    """
    parts: list[RenderableType] = []
    for group in groups(found):
        parts += [_table(title(group[0]), group, summary_columns(group), name=0), Text()]
        parts += [_table("", *by_corruption(group)), Text()]
        parts += [Text(text, style="yellow") for text in warnings(group, rows)]
    return Group(*parts, Text(NOTE, style="dim"))


def _table(
    head: str, rows: Sequence[Row], shown: Sequence[Column], name: int | None = None
) -> FittedTable:
    heads = [Head(each.head, each.narrow, each.right) for each in shown]
    cells = [[cell(each.text(row)) for each in shown] for row in rows]
    return FittedTable(head, heads, cells, [""] * len(cells), gap=2, name=name)
