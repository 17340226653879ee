"""A table fits the terminal at any width, loses no number, and wraps no name letter by letter."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console, RenderableType

from robbench.reports.terminal.fitted import FittedTable, Head, cell, shortened

LONG = "resnet-18-adversarially-trained-with-awp-on-cifar10-seed-3"
HEADS = [
    Head("run", "run", right=False),
    Head("model", "model", right=False),
    Head("robust accuracy (95 % interval)", "robust accuracy\n(95 %)"),
    Head("queries per sample (F+B)", "F+B per\nsample"),
]


def table(names: Sequence[str], name: int | None = 1) -> FittedTable:
    rows = [["0123", each, "41.4% 37.5-45.4", "100+10"] for each in names]
    cells = [[cell(text) for text in row] for row in rows]
    return FittedTable("digits test", HEADS, cells, [""] * len(rows), name=name)


def shown(renderable: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
@pytest.mark.parametrize("no_color", [False, True])
def test_everything_is_there_and_fits(
    width: int, no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers, and a name on one line."""
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    lines = shown(table(["ce", LONG]), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert text.count("41.4% 37.5-45.4") == text.count("100+10") == 2
    assert any(shortened(LONG, width) in line for line in lines)


def test_layouts() -> None:
    """Full heads where they fit, then short ones, then names on their own lines, then records."""
    wide, narrow, apart, records = (
        shown(table(["ce", LONG]), width) for width in (140, 95, 60, 30)
    )
    assert "robust accuracy (95 % interval)" in wide[1]
    assert len(wide) == 5
    assert "robust accuracy (95 % interval)" not in " ".join(narrow)
    assert len(narrow) == 6
    assert apart[-2].strip() == LONG
    assert apart[-1].split() == ["0123", "41.4%", "37.5-45.4", "100+10"]
    assert apart[-3].split() == ["0123", "ce", "41.4%", "37.5-45.4", "100+10"]
    assert apart[-1].index("41.4%") == apart[-3].index("41.4%")
    assert "ce" in [line.strip() for line in records]


def test_the_width_that_rows_need() -> None:
    """At it a row's numbers are on one line; below it every row is a record."""
    made = table(["ce", LONG])
    assert any("45.4  100+10" in line for line in shown(made, made.width_on_lines()))
    assert not any("45.4  100+10" in line for line in shown(made, made.width_on_lines() - 1))


def test_without_names() -> None:
    """A table of numbers alone is a table or records."""
    assert len(shown(table(["ce"], name=None), 140)) == 4
    assert "ce" in " ".join(shown(table(["ce"], name=None), 30)).split()


def test_a_name_of_several_lines_is_one() -> None:
    """Line breaks in a foreign name do not break the table."""
    assert len(shown(table(["two\nlines" * 9]), 60)) == 6


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abc", 3, "abc"),
        ("abcdefghij", 9, "abc...hij"),
        ("abcdefghij", 8, "abc...ij"),
        ("模型模型模型", 9, "模型...型"),
    ],
)
def test_the_middle_goes_first(text: str, width: int, short: str) -> None:
    """Both ends of a long name stay, and wide signs count twice."""
    assert shortened(text, width) == short


def test_prose_takes_the_room_that_is_left() -> None:
    """It is wrapped between words before names leave their lines."""
    heads = [Head("model", "model", right=False), Head("n", "n"), Head("why", "why", right=False)]
    rows = [[cell("ce"), cell("12"), cell("word " * 20)]]
    made = FittedTable("", heads, rows, [""], prose=2)
    assert len(shown(made, 120)) == 3
    wrapped = shown(made, 60)
    assert wrapped[2].split()[:2] == ["ce", "12"]
    assert len(wrapped) == 4
    assert set(" ".join(wrapped[2:]).split()) == {"ce", "12", "word"}
    assert wrapped[3].index("word") == wrapped[2].index("word")
