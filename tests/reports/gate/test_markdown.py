"""The section for a pull request: safe to paste."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import GateCheck
from robbench.reports.gate.markdown import to_markdown
from robbench.reports.gate.words import sentences


def test_names_cannot_break_it(
    finding: Callable[..., GateFinding], every: list[GateCheck], info: dict[str, Any]
) -> None:
    """Markup and line ends in a name stay text, and every row has as many cells."""
    evil = finding(
        *every, candidate=info | {"model": "a<b>&\x00\x1b[1m|`*\n::error::", "run_id": "r"}
    )
    table = [line for line in to_markdown(evil).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "a\\<b\\>" in to_markdown(evil)


def test_it_says_verdict_sentences_and_notes(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """Each in a line of its own."""
    made = finding(*every[1:])
    text = to_markdown(made)
    assert text.startswith("### robbench gate: not enough evidence\n")
    assert "- both runs are of the same weights" in text
    assert sum(line.startswith("- ") for line in text.splitlines()) == len(sentences(made)) + 1
