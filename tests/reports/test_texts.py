"""Warnings have one wording, numbers one format."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from robbench.reports import texts

QUIET = {
    "n_unconfirmed": 0,
    "n_error": 0,
    "n_unfinished": 0,
    "robust_accuracy": 0.5,
    "robust_accuracy_floor": 0.4,
    "distance_p50": None,
    "flags": None,
    "n_disagreements": 0,
    "n_samples": 10,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        (
            {"n_unconfirmed": 2},
            ["2 claimed successes did not survive the re-check: is the model random?"],
        ),
        ({"n_error": 3}, ["3 samples gave logits or gradients that are not finite numbers"]),
        (
            {"n_unfinished": 1},
            ["1 sample unfinished within the limits: robust accuracy is 40.0% to 50.0%"],
        ),
        ({"n_unfinished": 1, "robust_accuracy": None}, ["1 sample unfinished within the limits"]),
        ({"distance_p50": math.inf}, ["half of the samples have no perturbation found"]),
        ({"distance_p50": 0.5}, []),
        ({"flags": [{"name": "a", "text": "b"}]}, ["a: b"]),
        ({"flags": json.dumps([{"name": "a", "text": "b"}])}, ["a: b"]),
    ],
)
def test_warnings_of_a_row(changes: dict[str, Any], said: list[str]) -> None:
    """Of a row of the runs table or of `compare`; nothing about a run without faults."""
    assert texts.warnings(QUIET | changes) == said


def test_what_was_loaded_is_no_warning() -> None:
    """A table of a paper need not say it; where a run is shown it is a note."""
    row = QUIET | {"flags": [{"name": "loaded", "text": "w.pth"}, {"name": "a", "text": "b"}]}
    assert texts.warnings(row) == ["a: b"]
    assert texts.loaded(row) == ["loaded: w.pth"]


def test_failed_checks_are_warnings_once() -> None:
    """What a flag or the row says already is not repeated, nor what is for information only."""
    checks = [
        {"check": name, "verdict": verdict, "severity": severity, "text": "t"}
        for name, verdict, severity in (
            ("new", "fail", "error"),
            ("flagged", "fail", "error"),
            ("unfinished", "fail", "error"),
            ("mild", "fail", "info"),
            ("good", "pass", "error"),
        )
    ]
    row = QUIET | {"flags": [{"name": "flagged", "text": "f"}]}
    assert texts.warnings(row, checks) == ["flagged: f", "check new: t"]


def test_disagreements() -> None:
    """Said of runs where there were some."""
    assert texts.disagreements(QUIET) == ""
    assert "5 successes of the faster search (0.50 a sample)" in texts.disagreements(
        QUIET | {"n_disagreements": 5}
    )


@pytest.mark.parametrize("most", [5, 6, 11, 12, 13])
def test_a_long_name_is_cut_in_the_middle(most: int) -> None:
    """It has as many characters as allowed and keeps both ends; a short one stays."""
    name = "abcdefghijkl"
    short = texts.shortened(name, most)
    assert len(short) == min(most, 12)
    if most < 12:
        start, end = short.split("...")
        assert name.startswith(start)
        assert name.endswith(end)
        assert 0 <= len(start) - len(end) <= 1
    else:
        assert short == name


def test_formats() -> None:
    """A fixed width, digits that matter, decimals; a dash for nothing."""
    # What rounds to zero has no sign.
    assert [texts.number(-0.001), texts.points(-1e-5), texts.decimals(-1e-5)] == [
        "0.00",
        "0.0",
        "0.000",
    ]
    assert [texts.number(x) for x in (None, 0.5, 12.34, 1e6)] == ["-", "0.50", "12.3", "1e+06"]
    assert [texts.digits(x) for x in (None, math.inf, 0.12345)] == ["-", "-", "0.123"]
    assert texts.digits(0.12345, 4) == "0.1235"
    assert [texts.decimals(x) for x in (None, 0.25)] == ["-", "0.250"]


def test_rates_as_points_and_bounds():
    """A sign only where it is asked for; no bounds of what is not known."""
    assert [texts.points(x) for x in (None, 0.0123)] == ["-", "1.2"]
    assert [texts.points(x, signed=True) for x in (0.1, -0.1)] == ["+10.0", "-10.0"]
    assert texts.bounds(0.412, 0.493) == "41.2-49.3"
    assert texts.bounds(None, None) == texts.bounds(math.nan, math.nan) == "-"
    assert texts.amount(12345.678) == "12,345.7"


def test_plural():
    """Only of one there is one."""
    assert [texts.plural(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_no_adversarial_ratio_without_a_budget():
    """There it says whether an attack found any point, at whatever distance."""
    row = {"robust_accuracy": 0.25, "adversarial_ratio": 0.75}
    assert texts.adversarial(row) == 0.75
    assert texts.adversarial(row | {"robust_accuracy": None}) is None
