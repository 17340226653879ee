"""The section about a model's runs over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robbench.analysis.history import DISTANCE, LAST, History, history, measured_groups
from robbench.analysis.mean_history import with_means
from robbench.analysis.series import model_names, model_place
from robbench.reports.history import words
from robbench.reports.history.columns import columns
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import lines as figures
from robbench.reports.html.page import Cell, Head, Notes, Plot, Section, Table, in_words
from robbench.store.run import Run

FEWEST = 3
"""Different weights that a figure over time takes at least."""


def over_time(material: ReportData) -> Section:
    """A figure of each model's runs on the same samples under the same threat and attack."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    for found in with_means(_histories(material.runs)):
        place = model_place(str(found.info["model"]), names)
        blocks += [_plot(found, place), Notes(words.notes(found))]
    return Section("over-time", "Over time", blocks)


def _histories(runs: Sequence[Run]) -> list[History]:
    return [
        history([runs[i] for i in group[-LAST:]], measure, older=max(0, len(group) - LAST))
        for group, measure in measured_groups([run.info for run in runs])
        if len({runs[i].info["model_hash"] for i in group}) >= FEWEST
    ]


def _plot(found: History, place: int) -> Plot:
    title = words.heading(found)
    values = [words.value(found, step.value) for step in found.steps]
    unit = "" if found.measure == DISTANCE else " %"
    said = in_words(
        [f"{date}: {value}{unit}" for date, value in zip(words.dates(found), values, strict=True)]
    )
    drawn = figures.over_time(found, words.dates(found), words.measure(found), place)
    return Plot(title, f"Line chart over {len(values)} runs. {said}.", drawn, data=_table(found))


def _table(found: History) -> Table:
    changed = {shift.run for shift in found.shifts}
    shown = columns(found)
    heads = [Head(one.head, one.meaning, one.number) for one in shown]
    cells = zip(*(one.cells for one in shown), strict=True)
    rows = [[*map(Cell, row), Cell("yes" if i in changed else "")] for i, row in enumerate(cells)]
    heads.append(Head("change point", number=False))
    return Table(f"{words.heading(found)}, oldest first", heads, rows)
