"""A section for a pull request or GitHub's job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robbench.core.escaping import markdown
from robbench.reports.gate.notes import notes
from robbench.reports.gate.words import (
    HEADLINES,
    check_cells,
    confidence,
    decision_text,
    heading,
    sentences,
)
from robbench.reports.texts import NOTHING, p_value

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding


def to_markdown(finding: GateFinding) -> str:
    """A section for a pull request or GitHub's job summary."""
    lines = [f"### robbench gate: {HEADLINES[finding.verdict]}", "", markdown(heading(finding)), ""]
    if finding.checks:
        heads = [
            "",
            "baseline",
            "candidate",
            f"drop ({confidence(finding)} bounds)",
            "tolerated",
            "lost / won",
            "McNemar",
            "verdict",
        ]
        lines += [_row(heads), _row(["---", *["---:"] * (len(heads) - 1)])]
        for check in finding.checks:
            changed = NOTHING if check.lost is None else f"{check.lost} / {check.won}"
            p = NOTHING if check.mcnemar_p is None else p_value(check.mcnemar_p)
            lines.append(_row([*check_cells(check), changed, p, decision_text(check)]))
        lines.append("")
    lines += [f"- {markdown(text)}" for text in (*sentences(finding), *notes(finding))]
    return "\n".join([*lines, ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(markdown(cell) for cell in cells)} |"
