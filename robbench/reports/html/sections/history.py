"""The section about a model's runs over time."""

from __future__ import annotations

import dataclasses
from typing import Any

from robbench.analysis.history import (
    DISTANCE,
    LAST,
    History,
    comparable_groups,
    history,
    measure_of,
)
from robbench.analysis.series import model_names, model_place
from robbench.reports.history import words
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import lines as figures
from robbench.reports.html.page import Cell, Head, Notes, Plot, Section, Table, in_words

FEWEST = 3
"""Different weights that a figure over time takes at least."""


def over_time(material: ReportData) -> Section:
    """A figure of each model's runs on the same samples under the same threat and attack."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    for found in _histories(material):
        place = model_place(str(found.info["model"]), names)
        blocks += [_plot(found, place), Notes(words.notes(found))]
    return Section("over-time", "Over time", blocks)


def _histories(material: ReportData) -> list[History]:
    runs = material.runs
    found = []
    for group in comparable_groups([run.info for run in runs]):
        measure = measure_of(runs[group[0]].info, None)
        if measure and len({runs[i].info["model_hash"] for i in group}) >= FEWEST:
            one = history([runs[i] for i in group[-LAST:]], measure)
            found.append(dataclasses.replace(one, older=max(0, len(group) - LAST)))
    return found


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
    measure, changed = words.measure(found), {shift.run for shift in found.shifts}
    heads = [
        Head("run", number=False),
        Head("date (UTC)", number=False),
        Head("commit", number=False),
        Head("weights", number=False),
        Head(measure if found.measure == DISTANCE else f"{measure} (%)"),
        Head("95 % interval"),
        Head("change", "to the run before, on the samples of both"),
        Head("95 %, paired"),
        Head("change point", number=False),
    ]
    rows = [
        [
            Cell(words.run_id(step.info)),
            Cell(date),
            Cell(words.commit(step.info)),
            Cell(words.weights(step.info)),
            Cell(words.value(found, step.value), step.value),
            Cell(words.interval(found, step.low, step.high)),
            Cell(words.value(found, step.change, signed=True)),
            Cell(words.interval(found, step.change_low, step.change_high, signed=True)),
            Cell("yes" if i in changed else ""),
        ]
        for i, (step, date) in enumerate(zip(found.steps, words.dates(found), strict=True))
    ]
    return Table(f"{words.heading(found)}, oldest first", heads, rows)
