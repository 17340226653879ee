"""Budgets in columns on the screen."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from robbench.analysis.pivot import Pivot
from robbench.reports.footnotes import TARGET
from robbench.reports.pivot import notes_of
from robbench.reports.terminal.pivot import PivotTable


def _cell(rate: float, **changes: Any) -> dict[str, Any]:
    return {
        "robust_accuracy": rate,
        "robust_accuracy_low": rate - 0.05,
        "robust_accuracy_high": rate + 0.05,
        "robust_accuracy_sd": None,
        "n_seeds": None,
        "n_samples": 100,
        "best": False,
        "attack": "pgd",
        "flags": [],
        "n_unconfirmed": 0,
        "n_error": 0,
        "n_unfinished": 0,
        "distance_p50": None,
    } | changes


def _row(model: str, *cells: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "model": model,
        "data": "digits",
        "split": "test",
        "n_seeds": None,
        "n_samples": 100,
        "clean_accuracy": 0.9,
        "cells": dict(zip(("linf:0.1", "l2:1"), cells, strict=True)),
    }


FOUND = Pivot(
    ("linf:0.1", "l2:1"),
    (
        _row("at", _cell(0.7, best=True), _cell(0.5, n_seeds=3, robust_accuracy_sd=0.0123)),
        _row("ce", _cell(0.2, n_unconfirmed=3), None),
    ),
    ("l2:inf",),
)


def _shown(width: int, **console: Any) -> str:
    screen = Console(file=io.StringIO(), width=width, **console)
    screen.print(PivotTable(FOUND))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.mark.parametrize(
    ("width", "at", "ce"),
    [
        (100, "at 90.0% 70.0%* 65.0-75.0 50.0% sd 1.2 45.0-55.0", "ce 90.0% 20.0% 15.0-25.0 -"),
        (40, "at 90.0% 70.0%* 50.0% sd 1.2", "ce 90.0% 20.0% -"),
    ],
)
def test_intervals_where_there_is_room(width: int, at: str, ce: str) -> None:
    """Cells without a run are `-`, the best has a star, notes say what is not in the table."""
    lines = _shown(width).splitlines()
    assert max(map(len, lines)) <= width
    rows = [" ".join(line.split()) for line in lines]
    assert at in rows
    assert ce in rows
    text = " ".join(rows)
    assert "ce, linf:0.1: 3 claimed successes" in text
    assert "Left out, without a budget: l2:inf." in text
    assert "every other (p <= 0.05)" in text


def test_a_note_says_how_many_samples_the_cells_have() -> None:
    """Those of a target's class are left out in its column alone."""
    rows = (_row("at", _cell(0.7), _cell(0.5, n_samples=90)),)
    (first, *_) = notes_of(Pivot(("linf:0.1", "l2:1"), rows))
    assert first.startswith("digits test, pgd, 90-100 samples. ")
    assert notes_of(FOUND)[0].startswith("digits test, pgd, 100 samples. ")


def test_a_note_says_what_a_column_with_a_target_counts() -> None:
    """Where there is one; no column of FOUND has a target."""
    rows = tuple(
        {**row, "cells": {"linf:0.1 -> 3": row["cells"]["linf:0.1"]}} for row in FOUND.rows
    )
    assert TARGET in notes_of(Pivot(("linf:0.1 -> 3",), rows, ()))
    assert TARGET not in notes_of(FOUND)


def test_only_the_best_cell_is_bold() -> None:
    """On a terminal; elsewhere there are no codes."""
    text = _shown(100, force_terminal=True, color_system="truecolor")
    assert "\x1b[1m70.0%* 65.0-75.0\x1b[0m" in text
    assert "\x1b[1m50.0%" not in text
    assert "\x1b" not in _shown(100)


def test_cheap_cells_without_an_audit_are_named_once() -> None:
    """A model in several columns is one name; other attacks want no audit."""
    cheap = {"attack": "autoattack-fast", "audit_attack": None, "model": "at"}
    rows = (_row("at", _cell(0.7, **cheap), _cell(0.5, **cheap)), _row("ce", _cell(0.2), None))
    (line,) = [
        text
        for text in notes_of(Pivot(("linf:0.1", "l2:1"), rows))
        if text.startswith("Not audited")
    ]
    assert line.startswith("Not audited: at; autoattack may break more than autoattack-fast")
    assert not any("audited" in text for text in notes_of(FOUND))
