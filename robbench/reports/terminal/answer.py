"""What a person sees first in the terminal: the answer and the strongest doubt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from robbench.analysis.answer import Answer
from robbench.reports.answer import doubt, sentence

_STYLES = {"error": "red", "warning": "yellow", "unchecked": "yellow", "none": "green"}


def answer_lines(answers: Sequence[Answer], out: Path | None = None) -> list[Text]:
    """Each answer with its doubt below it, and an empty line; out: the folder of the runs."""
    found = []
    for answer in answers:
        severity, text = doubt(answer, out)
        found.append(Text(sentence(answer, among=answers), style="bold"))
        found += [Text(text, style=_STYLES[severity])] if text else []
    return [*found, Text()]
