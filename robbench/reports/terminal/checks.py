"""Checks in the terminal: verdicts, samples, and the self-test behind the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports import texts
from robbench.reports.terminal.fitted import FittedTable, Head, cell

STYLES = {"pass": "green", "fail": "bold red", "unclear": "yellow", "skipped": "dim"}
SHOWN = 5  # sample ids of a failed check


def checks_table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Rows of the checks table in 80 columns, then what failed ones mean and skips' reasons."""
    answered = [row for row in rows if row["verdict"] != "skipped"]
    table = FittedTable(title, _HEADS, [*map(_cells, answered)], [""] * len(answered), gap=2)
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
    cases = [
        [
            cell(row["case"]),
            Text("bad" if row["bad"] else "good"),
            Text("ok", "green") if row["as_expected"] else Text("WRONG", "bold red"),
            Text(", ".join(row["flagged_by"]) or "nothing"),
        ]
        for row in rows
    ]
    heads = [Head(text, text, right=False) for text in ("case", "is", "", "flagged by")]
    title = "self-test on the embedded digits"
    who = FittedTable(title, heads, cases, [""] * len(cases), prose=3, gap=2)
    figures = [
        [Text(column[0]["check"]), *map(Text, _figures(column, rows))]
        for column in zip(*(row["findings"] for row in rows), strict=True)
        if column[0]["severity"] != "info" and _good(column, rows)
    ]
    by_check = FittedTable("figures", _FIGURE_HEADS, figures, [""] * len(figures), gap=2)
    return Group(who, Text(), by_check)


_HEADS = [
    *(Head(text, text, right=False) for text in ("check", "severity", "verdict")),
    *(Head(text, text) for text in ("figure", "threshold")),
    Head("source", "source", right=False),
]
_FIGURE_HEADS = [
    Head("check", "check", right=False),
    Head("good, at most", "good,\nat most"),
    Head("threshold", "threshold"),
    Head("flagged, at least", "flagged,\nat least"),
    Head("at most", "at most"),
    Head("cases", "cases"),
]


def _cells(row: Mapping[str, Any]) -> list[Text]:
    figures = (None if row["verdict"] == "unclear" else row[x] for x in ("figure", "threshold"))
    return [
        cell(row["check"]),
        cell(row["severity"]),
        Text(row["verdict"], STYLES[row["verdict"]]),
        *(Text(texts.decimals(figure)) for figure in figures),
        cell(row["source"].partition(":")[0]),
    ]


def _good(column: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The figures of one check on the good cases."""
    return [
        found["figure"]
        for found, row in zip(column, rows, strict=True)
        if not row["bad"] and found["figure"] is not None
    ]


def _figures(column: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    bad = [
        found["figure"]
        for found, row in zip(column, rows, strict=True)
        if row["bad"] and found["verdict"] == "fail"
    ]
    ends = (min(bad, default=None), max(bad, default=None))
    cells = (max(_good(column, rows)), column[0]["threshold"], *ends)
    return [*map(texts.decimals, cells), str(len(bad))]


def _note(row: Mapping[str, Any]) -> Text:
    ids = ", ".join(f"{sample:016x}" for sample in row["evidence"][:SHOWN])
    more = f" and {len(row['evidence']) - SHOWN} more" if len(row["evidence"]) > SHOWN else ""
    samples = f" (samples {ids}{more})" if ids else ""
    return Text(f"{row['check']}: {row['text']}{samples}", style=STYLES["fail"])
