"""Checks as a person reads them."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from robbench.reports.terminal.checks import checks_table, summary


def row(name: str, verdict: str, **more: Any) -> dict[str, Any]:
    """A row of the checks table."""
    figure = None if verdict == "skipped" else 0.25
    return {
        "check": name,
        "severity": "error",
        "verdict": verdict,
        "figure": figure,
        "threshold": figure,
        "text": f"about {name}",
        "source": "Carlini et al. 2019: something",
        "evidence": [],
        **more,
    }


def shown(rows: list[dict[str, Any]]) -> str:
    console = Console(width=80, no_color=True, file=None)
    with console.capture() as capture:
        console.print(checks_table("at: digits", rows))
    return capture.get()


def test_verdicts_notes_and_reasons() -> None:
    """A line per answered check; what failed with its samples; what was skipped gathered by reason."""
    rows = [
        row("one", "pass"),
        row("two", "fail", evidence=[255, 1, 2, 3, 4, 5, 6]),
        row("three", "unclear"),
        row("four", "skipped", text="no points"),
        row("five", "skipped", text="no points"),
    ]
    text = shown(rows)
    assert "0.250" in text
    assert "two: about two (samples 00000000000000ff, " in text
    assert "and 2 more)" in " ".join(text.split())
    assert "too few samples to tell: three\n" in text
    assert "skipped four, five: no points" in text
    assert "about one" not in text
    assert text.rstrip().endswith("1 pass, 1 fail, 1 unclear, 2 skipped")
    assert max(map(len, text.splitlines())) <= 80


def test_markup_in_texts_is_shown_as_it_is() -> None:
    """Brackets of a data set's name are no markup."""
    assert "cifar10[3,5]" in shown([row("one", "fail", text="cifar10[3,5]")])


def test_the_summary_counts_what_there_is() -> None:
    """Only verdicts that occur."""
    assert summary([row("a", "pass"), row("b", "pass")]) == "2 pass"
