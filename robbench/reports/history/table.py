"""Histories on a terminal: a sparkline, a table, and what to know."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.analysis.history import DISTANCE, History
from robbench.reports.history import words
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
    line = Text(f"{words.sparkline(found, signs)}  {ends}{'' if _is_size(found) else ' %'}")
    return [_table(found), line, *(Text(text) for text in words.notes(found)), Text()]


def _table(found: History) -> FittedTable:
    apart = any(step.settings for step in found.steps)
    unit = "" if _is_size(found) else " (%)"
    heads = [
        Head("run", "run", right=False),
        Head("date (UTC)", "date\n(UTC)", right=False),
        Head("commit", "commit", right=False),
        Head("weights", "weights", right=False),
        Head("samples", "samples"),
        Head(f"{words.measure(found)}{unit}", f"value\n{unit.strip()}".strip()),
        Head("95 %", "95 %"),
        Head("change", "change"),
        Head("95 %, paired", "95 %,\npaired"),
        *([Head("settings", "settings", right=False)] if apart else []),
    ]
    rows = []
    for step, date in zip(found.steps, words.dates(found), strict=True):
        cells = [
            words.run_id(step.info),
            date,
            words.commit(step.info),
            words.weights(step.info),
            str(step.n),
            words.value(found, step.value),
            words.interval(found, step.low, step.high),
            words.value(found, step.change, signed=True),
            words.interval(found, step.change_low, step.change_high, signed=True),
            *([step.settings or ""] if apart else []),
        ]
        rows.append([cell(text) for text in cells])
    styles = [""] * len(rows)
    for shift in found.shifts:
        styles[shift.run] = "bold"
    return FittedTable(words.heading(found), heads, rows, styles)


def _is_size(found: History) -> bool:
    return found.measure == DISTANCE
