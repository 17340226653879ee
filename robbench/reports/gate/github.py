"""Annotations of a GitHub workflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from robbench.core.escaping import printable
from robbench.reports.gate.words import HEADLINES, sentences

if TYPE_CHECKING:
    from robbench.analysis.gate import GateFinding

_LEVELS = {"pass": "notice", "regression": "error", "undecided": "error"}


def github_lines(finding: GateFinding) -> Iterator[str]:
    """GitHub's workflow commands, a line each."""
    level = "warning" if finding.passes_undecided else _LEVELS[finding.verdict]
    title = f"robbench gate: {HEADLINES[finding.verdict]}"
    for text in sentences(finding):
        yield annotation(level, title, f"{finding.candidate['model']}: {text}")


def annotation(level: str, title: str, message: str) -> str:
    """`::error title=...::message`, with what would end it escaped."""
    escaped = [
        printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
        for text in (title, message)
    ]
    return f"::{level} title={escaped[0].replace(':', '%3A').replace(',', '%2C')}::{escaped[1]}"
