"""How models under corruptions are written: columns and notes, for every renderer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from robbench.core.corruptions import PREFIX
from robbench.reports import texts
from robbench.reports.columns import Column, Row

NOTE = (
    "mean: over all of them, each counting alike; its interval is as wide as if a sample were "
    "right under all or none. worst: the one with the lowest accuracy, chosen from these numbers. "
    "all: right under every one. Accuracy is on corrupted inputs, whatever the clean ones are. "
    "Intervals: Wilson, of differences Student's t on paired samples, 95 %. Not the published "
    "images of CIFAR-10-C or ImageNet-C."
)

_OF_ALL = (
    *("mean_accuracy", "mean_accuracy_low", "mean_accuracy_high"),
    *("all_accuracy", "worst_accuracy", "worst_threat"),
)


def title(row: Row) -> str:
    """Of the table that a row is in."""
    return f"{row['data']} {row['split']}, {count(row)}, {row['n_samples']} samples"


def count(row: Row) -> str:
    """The number of corruptions and severities that a row counts, in words."""
    kinds = Counter(threat.partition("@")[0] for threat in row["threats"])
    if len(kinds) == 1 or len(set(kinds.values())) > 1:
        return f"{len(row['threats'])} threat models of corruptions"
    return f"{len(kinds)} corruptions at {max(kinds.values())} severities each"


def summary_columns(rows: Sequence[Row]) -> list[Column]:
    """Model, clean accuracy, mean, worst, all; the difference where there are several models."""
    shown = [
        _column("model", "model", lambda row: str(row["model"]), right=False),
        _column("clean accuracy", "clean", lambda row: texts.percent(row["clean_accuracy"])),
        _column("mean (95 %)", "mean\n(95 %)", _rate("mean_accuracy")),
        _column("all (95 %)", "all\n(95 %)", _rate("all_accuracy")),
        _column("worst", "worst", _worst, right=False),
    ]
    if any(row["difference"] is not None for row in rows):
        head = "mean to the first (points)"
        shown.append(_column(head, "mean to the\nfirst (points)", _to_first))
    return shown


def by_corruption(rows: Sequence[Row]) -> tuple[list[Row], list[Column]]:
    """A row for each corruption with the accuracy of each model, the mean over severities."""
    found: list[Row] = [
        {"corruption": name, **{str(i): row["corruptions"][name] for i, row in enumerate(rows)}}
        for name in rows[0]["corruptions"]
    ]
    shown = [_column("corruption", "corruption", lambda row: row["corruption"], right=False)]
    for i, row in enumerate(rows):
        shown.append(_column(row["model"], row["model"], _percent(str(i))))
    return found, shown


def by_severity(group: Sequence[Row], rows: Sequence[Row]) -> tuple[list[Row], list[Column]]:
    """A row for each corruption and model with the accuracy at each severity, and their mean.

    rows: of `compare`, with those of the runs of the group.
    """
    of_run = {row["run_id"]: row for row in rows}
    found: list[Row] = []
    for name in group[0]["corruptions"]:
        for one in group:
            runs = [of_run[run_id] for run_id in one["run_ids"]]
            mine = [run for run in runs if run["norm"] == f"{PREFIX}{name}"]
            rates = {f"{run['eps']:g}": run["robust_accuracy"] for run in mine}
            mean = one["corruptions"][name]
            found.append({"corruption": name, "model": one["model"], **rates, "mean": mean})
    severities = sorted({f"{of_run[run_id]['eps']:g}" for run_id in group[0]["run_ids"]})
    shown = [_column("corruption", "corruption", lambda row: row["corruption"], right=False)]
    if len(group) > 1:
        shown.append(_column("model", "model", lambda row: row["model"], right=False))
    shown += [_column(name, name, _percent(name)) for name in (*severities, "mean")]
    return found, shown


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each table: on the same samples under the same threat models."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["data"], row["split"], row["n_samples"], *row["threats"])
        found.setdefault(key, []).append(row)
    return [*found.values()]


def without(rows: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """The rows of `compare` whose runs are in none of those found."""
    inside = {run_id for row in found for run_id in row["run_ids"]}
    return [row for row in rows if row["run_id"] not in inside]


def warnings(group: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """What the runs of a table warn of, each once for a model; rows: of `compare`."""
    of_run = {row["run_id"]: row for row in rows}
    said = (
        f"{row['model']}: {text}"
        for row in group
        for run_id in row["run_ids"]
        for text in texts.warnings(of_run[run_id])
    )
    return [*dict.fromkeys(said)]


def with_means(rows: Sequence[Row], found: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of `compare` with the mean, worst and all of their model, for flat files.

    None of runs that are in none of those found, which are of `under_corruptions`.
    """
    if not found:
        return [dict(row) for row in rows]
    of_run = {run_id: row for row in found for run_id in row["run_ids"]}
    return [
        {
            **row,
            **{f"corruptions_{name}": of_run.get(row["run_id"], {}).get(name) for name in _OF_ALL},
        }
        for row in rows
    ]


def _column(head: str, narrow: str, text: Callable[[Row], str], *, right: bool = True) -> Column:
    return Column(head, narrow, text, (), right, lambda row: False)


def _rate(name: str) -> Callable[[Row], str]:
    return lambda row: f"{texts.percent(row[name])} {texts.interval(row, name)}"


def _worst(row: Row) -> str:
    return f"{texts.percent(row['worst_accuracy'])} {row['worst_threat'].removeprefix(PREFIX)}"


def _percent(name: str) -> Callable[[Row], str]:
    return lambda row: texts.percent(row.get(name))


def _to_first(row: Row) -> str:
    if row["difference"] is None:
        return texts.NOTHING
    said = texts.points(row["difference"], signed=True)
    if row["difference_high"] is None:
        return said
    return f"{said} ± {texts.points(row['difference_high'] - row['difference'])}"
