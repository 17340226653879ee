"""What a person sees in the terminal: the comparison of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.analysis.compare import WITHOUT_BUDGET
from robbench.core.limits import Limits
from robbench.reports import columns, texts


def comparison_table(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] = columns.DEFAULT
) -> RenderableType:
    """The rows of `compare` in 80 columns: one table for each data set, split, threat and attack, with these columns.

    Rates are percents, the difference is in percentage points of robust accuracy.
    """
    parts: list[RenderableType] = []
    for facts, group in groupby(sorted(rows, key=_order(rows)), key=_facts):
        parts += _titled_table(facts, list(group), names)
    return Group(*parts, *(Text(note, style="dim") for note in texts.footnotes(rows)))


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
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0),
        pad_edge=False,
        show_edge=False,
        title=Text(f"{data} {split}, {threat}, {attack}, {_sizes(rows)} samples", style="bold"),
        title_justify="left",
    )
    shown = [columns.column(name) for name in names]
    for each in shown:
        if each.right:
            table.add_column(
                each.narrow, justify="right", no_wrap=True, min_width=_width(each, rows)
            )
        else:
            table.add_column(each.narrow, overflow="fold", min_width=_width(each, rows))
    models = Counter(row["model"] for row in rows)
    notes = []
    for row in rows:
        # Two runs of one model are told apart by their run id.
        name = row["model"] if models[row["model"]] == 1 else f"{row['model']} {row['run_id'][:4]}"
        named = {**row, "model": name}
        table.add_row(
            *(Text(each.text(named)) for each in shown), style="bold" if row["best"] else None
        )
        if (
            row["note"] not in (None, "baseline", WITHOUT_BUDGET) and len(rows) > 1
        ):  # a run shown alone has nothing to be paired with
            notes.append(Text(f"{name}: {row['note']}", style="dim"))
        for count, what in (
            (
                row["n_unconfirmed"],
                "claimed successes did not survive the re-check: is the model random?",
            ),
            (row["n_error"], "samples gave logits or gradients that are not finite numbers"),
        ):
            if count:
                notes.append(Text(f"{name}: {count} {what}", style="yellow"))
        if row["n_unfinished"]:
            notes.append(Text(f"{name}: {texts.unfinished(row)}", style="yellow"))
        if row["distance_p50"] is not None:
            norm, half = threat.partition(":")[0], row["distance_p50"]
            far = (
                "half of the samples have no perturbation found"
                if half == float("inf")
                else f"half of the samples fall within {norm} {half:.4g}"
            )
            notes.append(Text(f"{name}: {far}"))
        notes += [
            Text(f"{name}: {flag['name']}: {flag['text']}", style="yellow") for flag in row["flags"]
        ]
    if "difference" in names and (off := _first_is_not_first(rows)):
        notes.insert(0, Text(f"differences are to {off}", style="dim"))
    return [table, *notes, Text()]


def width_needed(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = columns.DEFAULT) -> int:
    """How wide `comparison_table` must be, in columns, for no number to be cut."""
    return sum(_width(columns.column(name), rows) + 1 for name in names) - 1


def _width(each: columns.Column, rows: Sequence[Mapping[str, Any]]) -> int:
    """The least width of a column: names give way, numbers and heads do not."""
    return (
        max(len(text) for text in (*each.narrow.split("\n"), *(each.text(row) for row in rows)))
        if each.right
        else 6
    )


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = [row["n_samples"] for row in rows]
    return str(sizes[0]) if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"


def _first_is_not_first(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whom the rows were held against, when that is not the row shown first."""
    against = {row["baseline"] for row in rows if row["baseline"]}
    found = next((row for row in rows if row["run_id"] in against), None)
    return "" if found is None or found is rows[0] else f"{found['model']} {found['run_id'][:4]}"
