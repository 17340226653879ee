"""The tables of a suggestion, on a narrow and on a wide screen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from robbench.analysis.suggest import Entry, Judged, Suggestion
from robbench.reports.terminal.suggestion import SuggestionTables

RUN = {"threat": "linf:0.1", "eps": 0.1, "model_hash": "1", "model_arch": "x"}


@pytest.mark.parametrize("width", [60, 80, 140])
def test_all_figures_are_shown(width: int) -> None:
    """No number is cut; the union has no test, as it breaks all that any other does."""
    it = Judged("suggestion", 50, 0.41, (20.0, 18.4), (9.0, 7.0), 0.41, 0, 0, 1.0)
    union = Judged("all runs together", 50, 0.37, None, None, 0.41, 2, 0, 0.125)
    run = Judged("apgd:steps=100", 50, 0.43, (1234.0, 1100.0), (333.0, 222.0), 0.41, 3, 4, 0.77)
    entry = Entry("square:steps=50", True, 1111, 2222, 17, 51, 0)
    found = Suggestion((entry.spec,), (entry,), (), 61, 50, 7, it, union, (run,), 2, 1, 0.0812)
    out = io.StringIO()
    Console(file=out, width=width).print(SuggestionTables(found, [RUN]))
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    for text in (
        "1111",
        "2222",
        "51+0",
        "41.0%",
        "37.0%",
        "20+18",
        "1,234+1,100",
        "0.77",
        "misses",
    ):
        assert text in shown
    assert "0.12" not in shown
