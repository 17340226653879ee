"""Runs in Bencher's format, for `bencher run --adapter json`.

Source: https://bencher.dev/docs/reference/bencher-metric-format: a map from the name of a benchmark
to a map from the slug of a measure to its `value`, with `lower_value` and `upper_value`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from robbench.analysis.exported import Measure, Record
from robbench.core.spec import short_hash
from robbench.reports.columns import Row
from robbench.reports.corrupted import count

LONGEST_NAME = 1024
"""Characters of a benchmark's name that Bencher takes."""

SHOWN, ENDS = ("mean", "worst"), ("", "_low", "_high")

Metric = dict[str, float]


def metric_format(
    records: Sequence[Record], corrupted: Sequence[Row] = ()
) -> dict[str, dict[str, Metric]]:
    """By title the measures of its latest run: Bencher keeps the history.

    corrupted: as of `under_corruptions`; each of these counts once, in place of its runs.
    """
    inside = {run_id for row in corrupted for run_id in row["run_ids"]}
    kept = [one for one in records if one.run_id not in inside]
    kept += _means(records, corrupted)
    latest = {_name(one.title): one for one in sorted(kept, key=lambda one: one.started)}
    return {
        name: {
            measure.replace("_", "-"): {
                key: value
                for key, value in (
                    ("value", number.value),
                    ("lower_value", number.low),
                    ("upper_value", number.high),
                )
                if value is not None
            }
            for measure, number in latest[name].measures.items()
        }
        for name in sorted(latest)
    }


def _means(records: Sequence[Record], corrupted: Sequence[Row]) -> Iterator[Record]:
    """A record for each model under corruptions, with the mean and the lowest accuracy."""
    of_run = {one.run_id: one for one in records}
    for row in corrupted:
        mine = [of_run[run_id] for run_id in row["run_ids"]]
        rates = ((name, *(row[f"{name}_accuracy{end}"] for end in ENDS)) for name in SHOWN)
        measures = {f"corruptions_{name}_accuracy": Measure(*rate) for name, *rate in rates}
        clean = {"clean_accuracy": mine[0].measures["clean_accuracy"]}
        yield dataclasses.replace(
            max(mine, key=lambda one: one.started),
            title=mine[0].title.replace(row["threats"][0], _set(row), 1),
            measures=measures | clean,
        )


def _set(row: Row) -> str:
    """The corruptions of a row: how many, and a hash that tells them from as many others."""
    return f"{count(row)} ({short_hash(sorted(row['threats']), 8)})"


def _name(title: str) -> str:
    if len(title) <= LONGEST_NAME:
        return title
    mark = f"... {short_hash(title)}"
    return title[: LONGEST_NAME - len(mark)] + mark
