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

from robbench.results import texts


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rows of `compare` in 80 columns: one table for each data set, split, threat and attack, best read top down.

    Rates are percents, the difference is in percentage points of robust accuracy.
    """
    parts: list[RenderableType] = []
    for facts, group in groupby(sorted(rows, key=_order(rows)), key=_facts):
        parts += _titled_table(facts, list(group))
    return Group(*parts, Text(texts.FOOTNOTE, style="dim"))


def _facts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["data"], row["split"], row["threat"], row["attack"])


def _order(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Sort key that gathers equal facts and otherwise keeps the given order."""
    seen = list(dict.fromkeys(_facts(row) for row in rows))
    return lambda row: seen.index(_facts(row))


def _titled_table(facts: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    data, split, threat, attack = facts
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0),
        pad_edge=False,
        show_edge=False,
        title=Text(f"{data} {split}, {threat}, {attack}, {_sizes(rows)} samples", style="bold"),
        title_justify="left",
    )
    table.add_column("model", overflow="fold", min_width=6)
    for head in (
        "clean\nacc.",
        "robust accuracy\n(95 %)",
        "adv.\nratio",
        "median margin\nclean -> worst",
        "to the first\n(points)",
        "F+B per\nsample",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    names = Counter(row["model"] for row in rows)
    notes = []
    for row in rows:
        # Two runs of one model are told apart by their run id.
        name = row["model"] if names[row["model"]] == 1 else f"{row['model']} {row['run_id'][:4]}"
        robust = f"{texts.percent(row['robust_accuracy'])} {texts.interval(row)}"
        measured = [texts.percent(row["clean_accuracy"]), robust, texts.percent(row["adversarial_ratio"])]
        cells = [name, *measured, texts.margins(row), texts.difference(row), texts.queries(row)]
        table.add_row(*(Text(str(cell)) for cell in cells))
        if row["note"] not in (None, "baseline") and len(rows) > 1:  # a run shown alone has nothing to be paired with
            notes.append(Text(f"{name}: {row['note']}", style="dim"))
        for count, what in (
            (row["n_unconfirmed"], "claimed successes did not survive the re-check: is the model random?"),
            (row["n_error"], "samples gave logits or gradients that are not finite numbers"),
            (row["n_unfinished"], f"samples unfinished within the budget: robust accuracy is {texts.bounds(row)}"),
        ):
            if count:
                notes.append(Text(f"{name}: {count} {what}", style="yellow"))
        if row["distance_p50"] is not None:
            norm, half = threat.partition(":")[0], row["distance_p50"]
            far = (
                "half of the samples have no perturbation found"
                if half == float("inf")
                else f"half of the samples fall within {norm} {half:.4g}"
            )
            notes.append(Text(f"{name}: {far}"))
        notes += [Text(f"{name}: {flag['name']}: {flag['text']}", style="yellow") for flag in row["flags"]]
    return [table, *notes, Text()]


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = [row["n_samples"] for row in rows]
    return str(sizes[0]) if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"
