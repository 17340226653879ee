"""Checks as a person reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from robbench.reports.terminal.checks import checks_table, self_test_table, summary


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
    """A line per answered check; failures with samples; skipped ones grouped by reason."""
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


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_figures_fit(printed: Callable[..., list[str]], width: int) -> None:
    """Where a line is too short for them, each has a line of its own."""
    lines = printed(checks_table("m" * 90, [row("one", "pass", figure=1 / 3)]), width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {"0.333", "0.250", "Carlini", "one"} <= set(words)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_self_test(printed: Callable[..., list[str]], width: int) -> None:
    """Who flagged a case, on several lines if need be; figures on both sides of the threshold."""
    found = [
        {"severity": "error", "threshold": 0.5, "verdict": "pass"} | {"check": f"check-{i}"}
        for i in range(12)
    ]
    good = [each | {"figure": 0.25} for each in found]
    bad = [each | {"figure": 0.75, "verdict": "fail"} for each in found]
    names = [each["check"] for each in found]
    rows = [
        {"case": "plain", "bad": False, "as_expected": True, "flagged_by": [], "findings": good},
        {"case": "cut", "bad": True, "as_expected": False, "flagged_by": names, "findings": bad},
    ]
    lines = printed(self_test_table(rows), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert text.count("WRONG") == text.count("nothing") == 1
    for name in names:
        assert text.replace(",", "").split().count(name) == 2
    assert text.count("0.250") == text.count("0.500") == len(names)
    assert text.count("0.750") == 2 * len(names)
