"""A comparison with budgets in columns, in the terminal: with intervals where there is room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from robbench.analysis.pivot import Pivot
from robbench.reports.pivot import columns_of, notes_of, warnings_of
from robbench.reports.terminal.fitted import FittedTable, Head, cell


@dataclass(frozen=True)
class PivotTable:
    """Robust accuracy under each threat model, one row per model, and notes below."""

    found: Pivot

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        full = _table(self.found, intervals=True)
        fits = full.width() <= options.max_width
        yield full if fits else _table(self.found, intervals=False)
        yield Text()
        yield from (Text(text, style="yellow") for text in warnings_of(self.found))
        yield from (Text(text, style="dim") for text in notes_of(self.found))

    def width(self) -> int:
        """The least width with names and intervals on one line."""
        return _table(self.found, intervals=True).width()


def _table(found: Pivot, *, intervals: bool) -> FittedTable:
    shown = columns_of(found, intervals=intervals)
    cells = [[cell(each.text(row)) for each in shown] for row in found.rows]
    for line, row in zip(cells, found.rows, strict=True):
        for text, each in zip(line, shown, strict=True):
            if each.bold(row):
                text.stylize("bold")
    heads = [Head(each.head, each.narrow, each.right) for each in shown]
    return FittedTable("", heads, cells, [""] * len(cells), gap=2)
