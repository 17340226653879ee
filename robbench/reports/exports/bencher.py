"""Runs in Bencher's format, for `bencher run --adapter json`.

Source: https://bencher.dev/docs/reference/bencher-metric-format: a map from the name of a benchmark
to a map from the slug of a measure to its `value`, with `lower_value` and `upper_value`.
"""

from __future__ import annotations

from collections.abc import Sequence

from robbench.analysis.exported import Record
from robbench.core.spec import short_hash

LONGEST_NAME = 1024
"""Characters of a benchmark's name that Bencher takes."""

Metric = dict[str, float]


def metric_format(records: Sequence[Record]) -> dict[str, dict[str, Metric]]:
    """By title the measures of its latest run: Bencher keeps the history."""
    latest = {_name(one.title): one for one in sorted(records, key=lambda one: one.started)}
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


def _name(title: str) -> str:
    if len(title) <= LONGEST_NAME:
        return title
    mark = f"... {short_hash(title)}"
    return title[: LONGEST_NAME - len(mark)] + mark
