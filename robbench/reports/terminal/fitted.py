"""A table that fits the terminal: no number is cut, and no name is wrapped letter by letter.

The layout is the first of these that fits: full heads; short heads; a column of prose on several
lines; names that are too long on a line of their own; one record per row, with a line for each
column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from robbench.core.escaping import one_line

ELLIPSIS = "..."
NARROWEST_PROSE = 24
"""A column of prose is at least this wide."""

SHORTEST_NAME = 6
"""A column of names that leaves its longest ones to lines of their own is at least this wide."""


@dataclass(frozen=True)
class Head:
    """The head of a column: `full` on one line, `short` on one or two.

    Numbers are on the right.
    """

    full: str
    short: str
    right: bool = True


@dataclass(frozen=True)
class FittedTable:
    """Rows of cells under heads; the column `name` has the names, if any.

    `styles` are those of the rows. The column `prose` may be wrapped at spaces.
    """

    title: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Text]]
    styles: Sequence[str]
    name: int | None = 0
    prose: int | None = None
    gap: int = 1

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="bold")
        room = options.max_width
        for texts in ([head.full for head in self.heads], [head.short for head in self.heads]):
            widths = self._widths(texts)
            if self._total(widths) <= room:
                yield self._table(texts, widths, self.rows)
                return
        if self.prose is not None:
            left = room - self._total(widths) + widths[self.prose]
            if left >= NARROWEST_PROSE:
                widths[self.prose] = left
                yield self._table(texts, widths, self.rows)
                return
        left = room - self._without_name(widths)
        if self.name is not None and left >= self._shortest_name():
            yield from self._long_names_apart(left, widths, console, options)
        else:
            yield from (self._record(row, style, room) for row, style in self._styled())

    def width_on_lines(self) -> int:
        """The least width with every row's numbers on one line, with or without its name."""
        widths = self._widths([head.short for head in self.heads])
        if self.name is None:
            return self._total(widths)
        return self._without_name(widths) + self._shortest_name()

    def width(self) -> int:
        """The least width at which every row is one line."""
        return self._total(self._widths([head.short for head in self.heads]))

    def _without_name(self, widths: Sequence[int]) -> int:
        return self._total(widths) - (0 if self.name is None else widths[self.name])

    def _shortest_name(self) -> int:
        return max(SHORTEST_NAME, _width(self.heads[self.name or 0].short))

    def _widths(self, texts: Sequence[str]) -> list[int]:
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(texts)
        return [
            max([_width(text), *(cell.cell_len for cell in column)])
            for text, column in zip(texts, columns, strict=True)
        ]

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self.gap * (len(widths) - 1)

    def _styled(self) -> Iterator[tuple[Sequence[Text], str]]:
        return zip(self.rows, self.styles, strict=True)

    def _table(
        self, texts: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[Text]]
    ) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, self.gap - 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        for i, (head, text) in enumerate(zip(self.heads, texts, strict=True)):
            justify: JustifyMethod = "right" if head.right else "left"
            table.add_column(text, justify=justify, no_wrap=i != self.prose, width=widths[i])
        for row, style in zip(rows, self.styles, strict=True):
            table.add_row(*row, style=style)
        return table

    def _long_names_apart(
        self, left: int, widths: Sequence[int], console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        assert self.name is not None
        names = [row[self.name] for row in self.rows]
        fits = [name.cell_len <= left for name in names]
        rows = [
            row if fit else [*row[: self.name], Text(), *row[self.name + 1 :]]
            for row, fit in zip(self.rows, fits, strict=True)
        ]
        kept = [name.cell_len for name, fit in zip(names, fits, strict=True) if fit]
        widths = list(widths)
        widths[self.name] = max([self._shortest_name(), *kept])
        table = self._table([head.short for head in self.heads], widths, rows)
        lines = console.render_lines(table, options, pad=False)
        above = len(lines) - len(rows)
        for line in lines[:above]:  # the heads
            yield _Line(line)
        for line, name, fit, style in zip(lines[above:], names, fits, self.styles, strict=True):
            if not fit:
                yield Text(shortened(name.plain, options.max_width), style=style)
            yield _Line(line)

    def _record(self, row: Sequence[Text], style: str, room: int) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        indent = "" if self.name is None else "  "
        for i, (head, cell) in enumerate(zip(self.heads, row, strict=True)):
            if i != self.name:
                table.add_row(indent + head.full, cell)
        name = [] if self.name is None else [shortened(row[self.name].plain, room)]
        return Group(*(Text(text, style=style or "bold") for text in name), table, Text())


@dataclass(frozen=True)
class _Line:
    """Segments that were rendered before."""

    segments: Sequence[Segment]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield from self.segments
        yield Segment.line()


def cell(text: str) -> Text:
    """A text for a cell: one line, whatever is in it."""
    return Text(one_line(text))


def shortened(text: str, width: int) -> str:
    """A text in at most `width` cells: of a longer one the beginning and the end."""
    if cell_len(text) <= width:
        return text
    left = max(width - len(ELLIPSIS), 0)
    head, tail = text[: (left + 1) // 2], text[len(text) - left // 2 :]
    while cell_len(head + tail) > left:  # signs of two cells
        head, tail = (head[:-1], tail) if len(head) > len(tail) else (head, tail[1:])
    return f"{head}{ELLIPSIS}{tail}"


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))
