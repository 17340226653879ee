"""The section about the evidence checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robbench.analysis.series import model_names, name_of
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Head, Notes, Section, Table, number

_VERDICTS = {"fail": "failed", "unclear": "cannot tell", "pass": "passed", "skipped": "skipped"}
_GRAVE = ("error", "warning", "info")


def checks(material: ReportData) -> Section:
    """What speaks for and against believing the numbers."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    unchecked = []
    for run in material.runs:
        rows = sorted(material.checks.get(run.info["run_id"], ()), key=_gravity)
        title = (
            f"{name_of(run, names)}, {run.info['threat']}, {run.info['attack']}, run "
            f"{run.info['run_id']}"
        )
        if not rows:
            unchecked.append(run)
            continue
        heads = [
            Head("check", number=False),
            Head("severity", number=False),
            Head("verdict", number=False),
            Head("figure"),
            Head("threshold"),
            Head("meaning", number=False),
        ]
        open_ = [row for row in rows if row["verdict"] in ("fail", "unclear")]
        rest = [row for row in rows if row["verdict"] not in ("fail", "unclear")]
        if open_:
            blocks.append(Table(title, heads, [_check_cells(row) for row in open_]))
        if rest:
            counts = [
                f"{sum(row['verdict'] == v for row in rest)} {_VERDICTS[v]}"
                for v in ("pass", "skipped")
            ]
            blocks.append(
                Table(
                    f"{title}: {', '.join(counts)}",
                    heads,
                    [_check_cells(row) for row in rest],
                    folded=True,
                )
            )
    if blocks and unchecked:
        blocks.append(
            Notes(
                [
                    f"{len(unchecked)} runs are not checked yet: robbench check "
                    f"{unchecked[0].info['run_id']}"
                ]
            )
        )
    return Section("checks", "Evidence checks", blocks, runs=material.runs[0].info["run_id"])


def _gravity(row: Mapping[str, Any]) -> tuple[int, int]:
    order = list(_VERDICTS)
    verdict = order.index(row["verdict"]) if row["verdict"] in order else len(order)
    return verdict, _GRAVE.index(row["severity"]) if row["severity"] in _GRAVE else len(_GRAVE)


def _check_cells(row: Mapping[str, Any]) -> list[Cell]:
    samples = (
        f" ({len(row['evidence'])} samples)" if row["verdict"] == "fail" and row["evidence"] else ""
    )
    mark = f"{row['verdict']} {row['severity']}" if row["verdict"] == "fail" else row["verdict"]
    return [
        Cell(row["check"]),
        Cell(row["severity"]),
        Cell(_VERDICTS.get(row["verdict"], row["verdict"]), mark=mark),
        *(
            number(row[name] if row["verdict"] != "unclear" else None)
            for name in ("figure", "threshold")
        ),
        Cell(row["text"] + samples),
    ]
