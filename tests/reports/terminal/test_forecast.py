"""Forecasts and progress in words: no more digits, and no more claims, than are known."""

from __future__ import annotations

import pytest

from robbench.analysis.forecast import LOOKS, Forecast, Part
from robbench.analysis.so_far import so_far
from robbench.engine.progress import Left
from robbench.reports.terminal.forecast import (
    duration,
    forecast_line,
    left_text,
    rounded,
    so_far_text,
)

BOUNDS = (Part(LOOKS, 5, 0.0001), Part("apgd", 200, 0.01), Part("square", 5000, 0.002))
USUAL = tuple(
    Part(p.name, p.most, p.seconds, usual)
    for p, usual in zip(BOUNDS, [(2.0, 4.0), (50.0, 90.0), (1000.0, 3000.0)], strict=True)
)


def test_with_earlier_runs_the_range_the_bound_and_what_dominates():
    assert forecast_line(Forecast(100, USUAL, ("a", "b"), "cpu (1 thread)")) == (
        "about 110,000 to 310,000 queries, 4 to 12 min on cpu (1 thread): square 85%, apgd 15%; "
        "at most 20 min (as 2 earlier runs of these attacks needed)"
    )


def test_without_only_the_bound():
    line = forecast_line(Forecast(100, BOUNDS, (), "cpu (1 thread)"))
    assert line == (
        "at most 520,000 queries in about 20 min on cpu (1 thread): square 83%, apgd 17% "
        "(no earlier run to estimate from)"
    )
    assert not line.startswith("about")


def test_of_other_jobs_the_model_alone_is_told():
    line = forecast_line(Forecast(1, BOUNDS, (), "cpu", alone=True))
    assert line == (
        "at most 5,200 queries in about 12 s for the model alone on cpu: square 83%, apgd 17%"
    )
    assert forecast_line(Forecast(0, BOUNDS, (), "cpu")) == "nothing left to do"


def test_what_cannot_be_known_is_said():
    foreign = (*BOUNDS[:2], Part("theirs", None, 0.01))
    line = forecast_line(Forecast(100, foreign, (), "cpu"))
    assert line == "no forecast: theirs of another package does not say what it costs"
    limited = forecast_line(Forecast(100, foreign, (), "cpu", 60.0))
    assert limited.startswith("at most 60 s, the limit: theirs")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (12.4, "12 s"), (99.4, "99 s"), (150, "2 min"), (3599, "60 min"),
     (9000, "2.5 h"), (360_000, "100 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (7, "7"), (44, "44"), (314, "310"), (312_345, "310,000"), (1e9, "1,000,000,000")],
)
def test_two_digits(n, text):
    assert rounded(n) == text


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (None, "no estimate of the time left"),
        (Left(None, None), "no estimate of the time left"),
        (Left(None, 90.0), "at most 90 s left"),
        (Left(40.0, 40.0), "about 40 s left"),
        (Left(40.0, 300.0), "about 40 s left, at most 5 min"),
    ],
)
def test_the_time_left(left, text):
    assert left_text(left) == text


def test_accuracy_so_far_is_at_most_until_all_are_decided():
    assert so_far_text(so_far(0, 40, 100)).startswith("robust accuracy at most 60.0% (95 %: to ")
    assert so_far_text(so_far(10, 40, 100)).startswith("robust accuracy 10.0% to 60.0% (95 %: ")
    assert so_far_text(so_far(60, 40, 100)) == "robust accuracy 60.0% (95 %: 50.2% to 69.1%)"
