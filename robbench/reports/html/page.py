"""What a page consists of: sections of blocks, which the template turns into HTML.

Texts are plain; the template escapes them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from robbench.reports import texts
from robbench.reports.html.captions import MISSING, WHAT
from robbench.store.hints import place

_SPOKEN = 6


class Cell(NamedTuple):
    """A cell: what it says, and what it is sorted by where that is another thing.

    mark: names a style; small: a second, smaller line; spoken: what is read out in its place, of a
    symbol.
    """

    text: str
    key: float | None = None
    mark: str = ""
    small: str = ""
    spoken: str = ""


class Head(NamedTuple):
    """A column's title, what it means in a few more words, and whether it holds numbers.

    small: a second, smaller line.
    """

    text: str
    meaning: str = ""
    number: bool = True
    small: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a caption; the first column names the row.

    titles: of each row the title of its group, empty for no groups; rows of one group lie together
    and are sorted among themselves. mark: names a style.
    """

    kind: ClassVar[str] = "table"
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    titles: Sequence[str] = ()
    sortable: bool = False
    folded: bool = False
    mark: str = ""

    @property
    def groups(self) -> list[tuple[str, list[Sequence[Cell]]]]:
        """The groups in their order: title and rows."""
        titles = self.titles or [""] * len(self.rows)
        pairs = zip(titles, self.rows, strict=True)
        return [
            (title, [row for _, row in group])
            for title, group in itertools.groupby(pairs, key=lambda pair: pair[0])
        ]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A Plotly figure with a title, a description, a caption and, if it is short, its data."""

    kind: ClassVar[str] = "plot"
    title: str
    alt: str
    figure: Any
    caption: str = ""
    height: int = 400
    data: Table | None = None
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Notes:
    """Lines of text; `warning` marks warnings."""

    kind: ClassVar[str] = "notes"
    lines: Sequence[str]
    warning: bool = False


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Commands:
    """Command lines to copy, under a title."""

    kind: ClassVar[str] = "commands"
    title: str
    lines: Sequence[str]
    folded: bool = False


class Picture(NamedTuple):
    """An image as a data address, its text alternative and the few words below it."""

    address: str
    alt: str
    label: str


@dataclasses.dataclass(frozen=True)
class Card:
    """Pictures that belong together, and what they show."""

    pictures: Sequence[Picture]
    text: str


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Cards under a title."""

    kind: ClassVar[str] = "gallery"
    title: str
    cards: Sequence[Card]


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    `command` gives what is missing (`captions.py`), for the output folder it is called with, if
    that is known; `also` is said after what the section shows.
    """

    id: str
    title: str
    blocks: Sequence[Any]
    command: Callable[[Path | None], str] | None = None
    also: str = ""

    @property
    def text(self) -> str:
        """What it shows, or without blocks how to get them."""
        if not self.blocks:
            return self.missing(None)
        return " ".join(filter(None, [WHAT[self.id], self.also]))

    def missing(self, out: Path | None) -> str:
        """How to get what it shows, from the runs in the folder `out` if it is known."""
        command = self.command(out) if self.command else ""
        return MISSING[self.id].format(command=command, place=place(out))


def number(value: float | None) -> Cell:
    """A number as a cell with the digits that matter, sorted by its value; a dash for none."""
    if value is None or not math.isfinite(value):
        return Cell(texts.NOTHING)
    return Cell(texts.digits(value), float(value))


def amount(value: float) -> Cell:
    """Queries of a sample, or seconds."""
    return Cell(texts.amount(value), float(value))


def count(n: int) -> Cell:
    """A whole number."""
    return Cell(str(n), float(n))


def in_words(parts: Sequence[str]) -> str:
    """The first six parts of a list or of a figure's description, and the number of others."""
    more = f"; and {len(parts) - _SPOKEN} more" if len(parts) > _SPOKEN else ""
    return "; ".join(parts[:_SPOKEN]) + more


def percent(rate: float | None) -> Cell:
    """A rate in [0,1] as a cell, in percent."""
    return (
        Cell(texts.NOTHING)
        if rate is None or not math.isfinite(rate)
        else Cell(texts.percent(rate), float(rate))
    )
