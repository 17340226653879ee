"""The columns of a history, for the terminal and the report."""

from __future__ import annotations

from typing import NamedTuple

from robbench.analysis.history import DISTANCE, History
from robbench.reports.history import words


class Column(NamedTuple):
    """A cell for each run; `narrow`: the head in lines of a terminal, `meaning`: in more words."""

    head: str
    narrow: str
    cells: list[str]
    number: bool = True
    meaning: str = ""


def columns(found: History) -> list[Column]:
    """The columns, oldest run first; with that of the settings where these differ."""
    steps, unit = found.steps, "" if found.measure == DISTANCE else " (%)"
    infos = [step.info for step in steps]

    def facts(head: str, cells: list[str], narrow: str = "") -> Column:
        return Column(head, narrow or head, cells, number=False)

    settings = [step.settings or "" for step in steps]
    return [
        facts("run", [words.run_id(info) for info in infos]),
        facts("date (UTC)", words.dates(found), "date\n(UTC)"),
        facts("commit", [words.commit(info) for info in infos]),
        facts("weights", [words.weights(info) for info in infos]),
        Column("samples", "samples", [str(step.n) for step in steps]),
        Column(
            f"{words.measure(found)}{unit}",
            f"value\n{unit.strip()}".strip(),
            [words.value(found, step.value) for step in steps],
        ),
        Column("95 %", "95 %", [words.interval(found, step.low, step.high) for step in steps]),
        Column(
            "change",
            "change",
            [words.value(found, step.change, signed=True) for step in steps],
            meaning="to the run before, on the samples of both",
        ),
        Column(
            "95 %, paired",
            "95 %,\npaired",
            [words.interval(found, s.change_low, s.change_high, signed=True) for s in steps],
        ),
        *([facts("worst", [words.worst(found, step) for step in steps])] if found.threats else []),
        *([facts("settings", settings)] if any(settings) else []),
    ]
