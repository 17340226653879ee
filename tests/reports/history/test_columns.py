"""The columns of a history."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from robbench.analysis.history import History
from robbench.reports.history.columns import columns


def test_a_cell_for_each_run(fallen: History) -> None:
    """Rates in percent, changes in points; settings only where they differ."""
    found = {one.head: one.cells for one in columns(fallen)}
    assert all(len(cells) == 4 for cells in found.values())
    assert found["robust accuracy (%)"] == ["80.0", "80.0", "60.0", "60.0"]
    assert found["change"] == ["-", "+0.0", "-20.0", "+0.0"]
    assert found["95 %, paired"][0] == "-"
    assert "settings" not in found
    steps = [dataclasses.replace(fallen.steps[0], settings="seed 3"), *fallen.steps[1:]]
    (*_, last) = columns(dataclasses.replace(fallen, steps=steps))
    assert (last.head, last.cells) == ("settings", ["seed 3", "", "", ""])


def test_distances_have_no_percent(course: Callable[..., History]) -> None:
    """Their head is the measure, of two words on a narrow terminal at most."""
    found = columns(course([0.25, 0.5], measure="median_distance"))
    (value,) = (one for one in found if one.head == "median distance")
    assert (value.narrow, value.cells) == ("value", ["0.25", "0.5"])
