"""Histories on a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rich.console import Console

from robbench.analysis.history import History
from robbench.reports.history.table import histories_view, width_needed


def text(found: list[History], *, width: int = 80, blocks: bool = False) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as seen:
        console.print(histories_view(found, blocks=blocks))
    return seen.get()


def test_a_row_for_each_run_fits_eighty_columns(fallen: History) -> None:
    """With a name, a line, and the change point."""
    said = text([fallen])
    assert width_needed([fallen]) <= 80
    assert "nightly: robust accuracy, digits test, linf:0.15, pgd" in said
    rows = [line.split() for line in said.splitlines() if "2026-03-0" in line and "200" in line]
    assert rows[2][:7] == ["000000", "2026-03-03", "2234567", "2fedcb", "200", "60.0", "55.0-65.0"]
    assert rows[2][7:] == ["-20.0", "-10.0", "to", "+10.0"]
    assert rows[0][7:] == ["-", "-"]
    assert "^^|__  60.0-80.0 %" in said
    assert said.isascii() is False  # the rule below the heads
    assert "██|▁▁" in text([fallen], blocks=True)


def test_settings_have_a_column_where_runs_differ(fallen: History) -> None:
    """Else there is none."""
    steps = [dataclasses.replace(step, settings="seed 3") for step in fallen.steps]
    assert "seed 3" in text([dataclasses.replace(fallen, steps=steps)], width=120)
    assert "settings" not in text([fallen], width=120)


def test_several_histories_are_below_each_other(
    fallen: History, course: Callable[..., History]
) -> None:
    """Each with what it differs in."""
    other = course([0.5], differs=["threat: a and b"])
    assert text([fallen, other]).index("differ from the first in threat") > 0


def test_a_mean_over_corruptions_has_the_worst_of_them(course: Callable[..., History]) -> None:
    """It says how many they are, and how to see one."""
    threats = ["corruption:fog@1", "corruption:fog@5"]
    found = course([0.75, 0.7], threats=threats)
    steps = [dataclasses.replace(step, worst=(0.5, threats[1])) for step in found.steps]
    said = text([dataclasses.replace(found, steps=steps)], width=100)
    assert "nightly: mean accuracy, digits test, 2 threat models of corruptions" in said
    assert said.count("50.0 fog@5") == 2
    assert "--where threat=corruption:fog@1" in said
    assert "no change point" not in said
