"""Histories on a terminal: a sparkline, a table, and what to know."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.analysis.history import DISTANCE, History
from robbench.reports.history import words
from robbench.reports.history.columns import columns
from robbench.reports.terminal.fitted import FittedTable, Head, cell


def histories_view(found: Sequence[History], *, blocks: bool = False) -> RenderableType:
    """All histories. blocks: whether the terminal can show those of Unicode."""
    return Group(*(part for one in found for part in _view(one, blocks)))


def width_needed(found: Sequence[History]) -> int:
    """How wide the tables must be for a run to be on one line."""
    return max(_table(one).width_on_lines() for one in found)


def _view(found: History, blocks: bool) -> list[RenderableType]:
    signs = words.BLOCKS if blocks else words.ASCII
    values = [step.value for step in found.steps]
    ends = words.interval(found, min(values), max(values))
    unit = "" if found.measure == DISTANCE else " %"
    line = Text(f"{words.sparkline(found, signs)}  {ends}{unit}")
    return [_table(found), line, *(Text(text) for text in words.notes(found)), Text()]


def _table(found: History) -> FittedTable:
    shown = columns(found)
    heads = [Head(one.head, one.narrow, right=one.number) for one in shown]
    rows = [[cell(text) for text in row] for row in zip(*(one.cells for one in shown), strict=True)]
    styles = [""] * len(rows)
    for shift in found.shifts:
        styles[shift.run] = "bold"
    return FittedTable(words.heading(found), heads, rows, styles)
