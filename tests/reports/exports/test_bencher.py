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


def test_corruptions_are_one_benchmark(a_record):
    """Mean and worst of one model in place of its runs; others stay."""
    threats = [f"corruption:fog@{n}" for n in (1, 5)]
    clean = {"clean_accuracy": Measure(0.9)}
    runs = [
        a_record(run_id=str(i), title=f"ce on digits test, {threat}, none", measures=clean)
        for i, threat in enumerate(threats)
    ]
    rates = {f"mean_accuracy{end}": 0.5 + by for end, by in (("", 0), ("_low", -0.25))}
    rates |= {f"worst_accuracy{end}": 0.25 + by for end, by in (("", 0), ("_low", -0.125))}
    row = {"mean_accuracy_high": 0.75, "worst_accuracy_high": 0.5, "run_ids": ["0", "1"]}
    found = metric_format([a_record(), *runs], [rates | row | {"threats": threats}])
    jsonschema.validate(found, SCHEMA)
    title, other = found
    assert re.fullmatch(
        r"ce on digits test, 2 threat models of corruptions \([0-9a-f]{8}\), none", title
    )
    assert other == a_record().title
    assert found[title] == {
        "corruptions-mean-accuracy": {"value": 0.5, "lower_value": 0.25, "upper_value": 0.75},
        "corruptions-worst-accuracy": {"value": 0.25, "lower_value": 0.125, "upper_value": 0.5},
        "clean-accuracy": {"value": 0.9},
    }


def test_other_corruptions_are_another_benchmark(a_record):
    """However many they are; their order does not count."""

    def name(*threats):
        runs = [
            a_record(
                run_id=str(i),
                title=f"ce on digits test, {threat}, none",
                measures={"clean_accuracy": Measure(0.9)},
            )
            for i, threat in enumerate(threats)
        ]
        rates = dict.fromkeys(
            [f"{of}_accuracy{end}" for of in ("mean", "worst") for end in ("", "_low", "_high")],
            0.5,
        )
        row = {**rates, "run_ids": [one.run_id for one in runs], "threats": list(threats)}
        (found,) = metric_format(runs, [row])
        return found

    fog, snow = (
        name("corruption:fog@1", "corruption:snow@1"),
        name("corruption:fog@3", "corruption:snow@1"),
    )
    assert fog != snow
    assert name("corruption:snow@1", "corruption:fog@1") == fog
