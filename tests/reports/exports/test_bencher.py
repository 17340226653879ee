"""Bencher's rules, from https://bencher.dev/docs/reference/bencher-metric-format."""

from __future__ import annotations

import re

import jsonschema

from robbench.analysis.exported import Measure
from robbench.reports.exports.bencher import metric_format

NUMBER = {"type": "number"}
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema",
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {
                        "value": NUMBER,
                        "lower_value": NUMBER,
                        "upper_value": NUMBER,
                    },
                    "required": ["value"],
                    "additionalProperties": False,
                }
            },
        }
    },
}
"""The published schema; that there are no other keys is ours."""


def test_the_published_schema(a_record):
    """A number without an interval has no bounds."""
    found = metric_format([a_record()])
    jsonschema.validate(found, SCHEMA)
    assert found == {
        "ce on digits test, linf:0.15, pgd": {
            "robust-accuracy": {"value": 0.5, "lower_value": 0.25, "upper_value": 0.75},
            "certified-accuracy": {"value": 0.125},
        }
    }


def test_names_are_slugs_and_short(a_record):
    """Measures: a slug of up to 64 characters. Benchmarks: up to 1024, and told apart."""
    records = [a_record(title="x" * 2000 + end) for end in "ab"]
    found = metric_format(records)
    assert [len(name) for name in found] == [1024, 1024]
    for measures in found.values():
        assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in measures)
        assert max(map(len, measures)) <= 64


def test_the_latest_run_of_a_benchmark_counts(a_record):
    """In whatever order they come."""
    old = a_record()
    new = a_record(started=old.started + 1, measures={"robust_accuracy": Measure(0.75)})
    for records in ([old, new], [new, old]):
        assert metric_format(records)[old.title] == {"robust-accuracy": {"value": 0.75}}
