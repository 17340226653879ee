"""What a person sees in the terminal: the comparison of runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.analysis.compare import WITHOUT_BUDGET
from robbench.core.limits import Limits
from robbench.reports import columns, texts
from robbench.reports.columns import Row
from robbench.reports.corrupted import without
from robbench.reports.footnotes import footnotes
from robbench.reports.terminal.corrupted import corrupted_tables
from robbench.reports.terminal.fitted import FittedTable, Head, cell


def comparison_table(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str] | None = None,
    corrupted: Sequence[Row] = (),
) -> RenderableType:
    """The rows of `compare`, one table for each data set, split, threat and attack.

    `names` are the columns. Rates are percents, differences are in points of robust accuracy.
    corrupted: as of `under_corruptions`; the runs that these are made of have no other tables,
    unless columns are named.
    """
    parts: list[RenderableType] = []
    corrupted = corrupted if names is None else ()
    others = without(rows, corrupted)
    for facts, group in _tables(others):
        parts += _titled_table(facts, group, columns.usual(group) if names is None else names)
    parts += [Text(note, style="dim") for note in footnotes(others)] if others else []
    if corrupted:
        parts += [Text()] if others else []
        parts.append(corrupted_tables(corrupted, rows))
    return Group(*parts)


def _tables(rows: Sequence[Row]) -> list[tuple[tuple[str, ...], list[Row]]]:
    gathered = groupby(sorted(rows, key=_order(rows)), key=_facts)
    return [(facts, list(group)) for facts, group in gathered]


def _facts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["data"], row["split"], row["threat"], row["attack"], _within(row))


def _within(row: Mapping[str, Any]) -> str:
    limits = Limits(row["max_time_s"], row["max_queries"])
    return f" within {limits}" if limits else ""


def _order(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Sort key that gathers equal facts and otherwise keeps the given order."""
    seen = list(dict.fromkeys(_facts(row) for row in rows))
    return lambda row: seen.index(_facts(row))


def _titled_table(
    facts: tuple[str, ...], rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[RenderableType]:
    data, split, threat, attack, within = facts
    attack += within
    models = Counter(row["model"] for row in rows)
    named_rows, notes = [], []
    for row in rows:
        # Two runs of one model differ in their run id.
        name = row["model"] if models[row["model"]] == 1 else f"{row['model']} {row['run_id'][:4]}"
        named_rows.append({**row, "model": name})
        # A run shown alone has nothing to be paired with.
        if row["note"] not in (None, "baseline", WITHOUT_BUDGET) and len(rows) > 1:
            notes.append(Text(f"{name}: {row['note']}", style="dim"))
        notes += [Text(f"{name}: {text}", style="yellow") for text in texts.warnings(row)]
        if row["distance_p50"] is not None and math.isfinite(row["distance_p50"]):
            norm, half = threat.partition(":")[0], texts.digits(row["distance_p50"], 4)
            notes.append(
                Text(f"{name}: half of the samples fall within {norm} {half}{_proven(row)}")
            )
    if "difference" in names and (off := _first_is_not_first(rows)):
        notes.insert(0, Text(f"differences are to {off}", style="dim"))
    title = f"{data} {split}, {threat}, {attack}, {_sizes(rows)} samples"
    return [_table(title, named_rows, names), *notes, Text()]


def _proven(row: Row) -> str:
    radius = row["certified_radius_p50"]
    return "" if radius is None else f"; half are certified up to {texts.digits(radius, 4)}"


def width_needed(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> int:
    """How wide `comparison_table` must be for the numbers of a row to be on one line."""
    if names is not None:
        return _table("", rows, names).width_on_lines()
    groups = [group for _, group in _tables(rows)]
    return max(_table("", group, columns.usual(group)).width_on_lines() for group in groups)


def _table(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> FittedTable:
    rows, shown = columns.shown(rows, names)
    return FittedTable(
        title,
        [Head(each.head, each.narrow, each.right) for each in shown],
        [[cell(each.text(row)) for each in shown] for row in rows],
        ["bold" if row["best"] else "" for row in rows],
        name=names.index("model") if "model" in names else None,
    )


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = [row["n_samples"] for row in rows]
    return str(sizes[0]) if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"


def _first_is_not_first(rows: Sequence[Mapping[str, Any]]) -> str:
    """The baseline of the rows, when it is not the row shown first."""
    against = {row["baseline"] for row in rows if row["baseline"]}
    found = next((row for row in rows if row["run_id"] in against), None)
    return "" if found is None or found is rows[0] else f"{found['model']} {found['run_id'][:4]}"
