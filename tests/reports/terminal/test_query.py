"""Answers to queries as a person reads them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from robbench.reports.terminal.query import query_table

ANSWER = pa.table(
    {"model": ["ce", "at\n[x]"], "n": [12, None], "rate": [1 / 3, 1e-7], "text": ["a" * 30, "b"]}
)


def test_a_table_where_it_fits(printed: Callable[..., list[str]]) -> None:
    """Numbers on the right with six digits, null as a dash, one line for each row."""
    head, _, one, two = printed(query_table(ANSWER))
    assert head.split() == ["model", "n", "rate", "text"]
    assert one.split() == ["ce", "12", "0.333333", "a" * 30]
    assert two.split() == ["at", "[x]", "-", "1e-07", "b"]
    assert one.index("12") + 2 == two.index("-") + 1 == head.index("n") + 1


@pytest.mark.parametrize("width", [20, 40])
def test_a_line_for_each_column_elsewhere(printed: Callable[..., list[str]], width: int) -> None:
    """Every value is there, a long one on several lines."""
    lines = printed(query_table(ANSWER), width)
    assert max(map(len, lines)) <= width
    assert [line.split()[-1] for line in lines if line.startswith("rate")] == ["0.333333", "1e-07"]
    assert "".join(lines).count("a") >= 30


def test_so_many_rows(printed: Callable[..., list[str]]) -> None:
    """And no more."""
    assert len(printed(query_table(pa.table({"n": range(9)}), 4))) == 2 + 4
