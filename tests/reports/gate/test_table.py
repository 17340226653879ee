"""What a gate says on a terminal: 60 columns or more wide, no number cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import GateCheck
from robbench.reports.gate.table import gate_table


def test_the_table_fits_80_columns(
    finding: Callable[..., GateFinding], every: list[GateCheck], info: dict[str, Any]
) -> None:
    """With long names, and the verdict as the last line."""
    wide = finding(*every, baseline=info | {"model": "m" * 90, "attack": "a + " * 40})
    text = io.StringIO()
    Console(file=text, width=80).print(gate_table(wide))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "REGRESSION"
    assert "both runs are of the same weights" in lines
    assert "..." not in text.getvalue()
    assert "…" not in text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_of_the_table_is_cut(
    finding: Callable[..., GateFinding], every: list[GateCheck], width: int
) -> None:
    """Where a line is too short for all of them, each has a line of its own."""
    text = io.StringIO()
    Console(file=text, width=width).print(gate_table(finding(*every)))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    assert shown.count("+5.0 (+2.0 to +8.0)") == 3
    assert "…" not in shown
