"""Checks in the terminal: verdicts, samples, and the self-test behind the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.reports import texts

STYLES = {"pass": "green", "fail": "bold red", "unclear": "yellow", "skipped": "dim"}
SHOWN = 5  # sample ids of a failed check


def checks_table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Rows of the checks table in 80 columns, then what failed ones mean and skips' reasons."""
    table = _table(title)
    table.add_column("check", no_wrap=True)
    for head in ("severity", "verdict"):
        table.add_column(head, no_wrap=True)
    for head in ("figure", "threshold"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for row in rows:
        if row["verdict"] != "skipped":
            verdict = Text(row["verdict"], STYLES[row["verdict"]])
            table.add_row(
                row["check"],
                row["severity"],
                verdict,
                *(
                    texts.decimals(row[name] if row["verdict"] != "unclear" else None)
                    for name in ("figure", "threshold")
                ),
                Text(row["source"].partition(":")[0]),
            )
    notes = [_note(row) for row in rows if row["verdict"] == "fail"]
    if unclear := [row["check"] for row in rows if row["verdict"] == "unclear"]:
        notes.append(
            Text(f"too few samples to tell: {', '.join(unclear)}", style=STYLES["unclear"])
        )
    reasons: dict[str, list[str]] = {}
    for row in (row for row in rows if row["verdict"] == "skipped"):
        reasons.setdefault(row["text"], []).append(row["check"])
    skipped = [
        Text(f"skipped {', '.join(names)}: {reason}", style="dim")
        for reason, names in reasons.items()
    ]
    return Group(table, *notes, *skipped, Text(summary(rows)))


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many checks came to what, `31 pass, 1 fail`."""
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in STYLES}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def self_test_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Per case what flagged it.

    Per check its figures on good and on flagged cases beside the threshold.
    """
    who = _table("self-test on the embedded digits")
    for head in ("case", "is", "", "flagged by"):
        who.add_column(head, overflow="fold")
    for row in rows:
        mark = Text("ok", "green") if row["as_expected"] else Text("WRONG", "bold red")
        who.add_row(
            row["case"],
            "bad" if row["bad"] else "good",
            mark,
            ", ".join(row["flagged_by"]) or "nothing",
        )
    figures = _table("figures")
    figures.add_column("check", no_wrap=True)
    for head in ("good, at most", "threshold", "flagged, at least", "at most", "cases"):
        figures.add_column(head, justify="right")
    for column in zip(*(row["findings"] for row in rows), strict=True):
        good = [
            f["figure"]
            for f, row in zip(column, rows, strict=True)
            if not row["bad"] and f["figure"] is not None
        ]
        bad = [
            f["figure"]
            for f, row in zip(column, rows, strict=True)
            if row["bad"] and f["verdict"] == "fail"
        ]
        if good and column[0]["severity"] != "info":
            cells = [
                max(good),
                column[0]["threshold"],
                min(bad, default=None),
                max(bad, default=None),
            ]
            figures.add_row(column[0]["check"], *map(texts.decimals, cells), str(len(bad)))
    return Group(who, figures)


def _note(row: Mapping[str, Any]) -> Text:
    ids = ", ".join(f"{sample:016x}" for sample in row["evidence"][:SHOWN])
    more = f" and {len(row['evidence']) - SHOWN} more" if len(row["evidence"]) > SHOWN else ""
    samples = f" (samples {ids}{more})" if ids else ""
    return Text(f"{row['check']}: {row['text']}{samples}", style=STYLES["fail"])


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        title=Text(title, style="bold"),
        title_justify="left",
    )
