"""What a gate found, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from robbench.reports import texts
from robbench.reports.gate.notes import notes
from robbench.reports.gate.words import (
    HEADLINES,
    check_cells,
    confidence,
    decision_text,
    heading,
    sentences,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from robbench.analysis.gate import GateFinding

_STYLES = {"pass": "green", "regression": "bold red", "undecided": "yellow"}


def gate_table(finding: GateFinding) -> RenderableType:
    """All checks, then warnings and what the verdict rests on; the verdict is the last line."""
    from rich.console import Group
    from rich.text import Text

    from robbench.reports.terminal.fitted import FittedTable, Head, cell

    drop = f"drop\n({confidence(finding)} bounds)"
    titles = ("baseline", "candidate", drop, "tolerated", "verdict")
    numbers = [Head(text.replace("\n", " "), text) for text in titles]
    heads = [Head("", "", right=False), *numbers]
    cells = [
        [
            *map(cell, check_cells(check)),
            Text(decision_text(check), _STYLES.get(check.decision, "dim")),
        ]
        for check in finding.checks
    ]
    table = FittedTable(heading(finding), heads, cells, [""] * len(cells))
    warnings = [Text(text, style="dim") for text in (*notes(finding), *_tests(finding))]
    lines = [Text(text) for text in sentences(finding)]
    verdict = Text(f"{HEADLINES[finding.verdict].upper()}", style=_STYLES[finding.verdict])
    return Group(*([table] if finding.checks else []), *warnings, *lines, verdict)


def _tests(finding: GateFinding) -> Iterator[str]:
    """McNemar's test of each rate; of many runs the intervals say enough."""
    for check in () if finding.against else finding.checks:
        if (
            check.tolerance is not None
            and check.mcnemar_p is not None
            and not check.metric.startswith("class ")
        ):
            yield (
                f"{check.metric}: {check.lost} lost, {check.won} won, "
                f"exact McNemar {texts.p_value(check.mcnemar_p)}"
            )
