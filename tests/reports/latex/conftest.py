"""LaTeX taken apart, as far as a table of ours goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from matplotlib.mathtext import MathTextParser


class Table(NamedTuple):
    """Comments, caption, column kinds, and the cells of each line between the rules."""

    comments: list[str]
    caption: str
    kinds: str
    lines: list[list[str]]


def _cells(line: str) -> list[str]:
    """The cells of a line; one that spans n columns counts n times."""
    cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
    found = []
    for cell in map(str.strip, cells):
        spans = re.match(r"\\multicolumn\{(\d+)\}", cell)
        found += [cell] * (int(spans[1]) if spans else 1)
    return found


def _parse(text: str) -> Table:
    """Fails unless braces, maths and environments are balanced and every line has all cells."""
    comments = [line for line in text.splitlines() if line.startswith("%")]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\&%$#_{}]", "", body)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", body) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]
    # Matplotlib knows the mathematics of TeX that we use, and refuses what it does not.
    formulas = re.findall(r"(?<!\\)\$(.*?)(?<!\\)\$", body)
    assert bare.count("$") == 2 * len(formulas)
    for formula in formulas:
        MathTextParser("path").parse(f"${formula}$")
    kinds = re.search(r"\\begin\{tabular\}\{(\w+)\}", body)[1]
    inside = body.partition("\\toprule\n")[2].partition("\\bottomrule")[0].splitlines()
    lines = [_cells(line) for line in inside if line.endswith(r"\\")]
    assert {len(cells) for cells in lines} == {len(kinds)}
    rest = [line for line in inside if not line.endswith(r"\\")]
    assert all(re.fullmatch(r"\\midrule|(\\cmidrule\(lr\)\{\d+-\d+\} ?)+", line) for line in rest)
    return Table(comments, re.search(r"\\caption\{(.*)\}", body)[1], kinds, lines)


@pytest.fixture
def parse() -> Callable[[str], Table]:
    """A table's source -> its parts."""
    return _parse
