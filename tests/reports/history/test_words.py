"""Histories in words: sparklines, dates, change points, and what is left out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from robbench.analysis.history import History, Shift
from robbench.reports.history.words import (
    ASCII,
    BLOCKS,
    commit,
    dates,
    heading,
    interval,
    notes,
    shift_text,
    sparkline,
    value,
)

Course = Callable[..., History]


@pytest.mark.parametrize(
    ("values", "signs", "drawn"),
    [
        ([0.0, 0.25, 0.5, 0.75, 1.0], ASCII, "_.-'^"),
        ([0.1, 0.9], BLOCKS, "▁█"),
        ([0.5, 0.5, 0.5], ASCII, "---"),
        ([1.0, 2.0, math.inf], ASCII, "_^^"),
        ([math.inf, math.inf], ASCII, "^^"),
        ([i / 7 for i in range(8)], BLOCKS, BLOCKS),
    ],
)
def test_a_sparkline_rises_from_the_lowest_to_the_highest_value(
    course: Course, values: list[float], signs: str, drawn: str
) -> None:
    """Equal values are in the middle, an infinite distance is on top."""
    assert sparkline(course(values), signs) == drawn


def test_a_change_point_is_marked(fallen: History) -> None:
    """Before the run it is at, and in a sentence with its p value."""
    assert sparkline(fallen) == "^^|__"
    assert notes(fallen) == [
        "change point at 000000 (2026-03-03, 2234567): 80.0 before, 60.0 after (-20.0 points, "
        "p=0.001)"
    ]


def test_a_change_whose_place_is_not_sure(fallen: History) -> None:
    """Says between which runs it is; without commits only their days."""
    for step in fallen.steps:
        step.info["git_sha"] = None  # type: ignore[index]
    assert shift_text(fallen, Shift(2, 0, 3, 0.02, 0.8, 0.6)).endswith(
        "p=0.020); it is after 000000 (2026-03-01), at 000000 (2026-03-04) at the latest"
    )


def test_a_change_that_may_not_be_of_the_model(fallen: History) -> None:
    """Equal weights have not changed, and another robbench may attack otherwise."""
    shift = Shift(2, 1, 2, 0.02, 0.8, 0.6)
    plain = shift_text(fallen, shift)
    before, after = (dict(fallen.steps[i].info) for i in (1, 2))
    assert before["model_hash"] != after["model_hash"]
    after["model_hash"] = before["model_hash"]
    steps = list(fallen.steps)
    steps[2] = dataclasses.replace(steps[2], info=after)
    same = dataclasses.replace(fallen, steps=steps)
    assert shift_text(same, shift) == f"{plain}; the weights before and after are the same"
    after |= {"model_hash": "other", "robbench_version": "9.9"}
    assert shift_text(same, shift).endswith(
        f"; robbench {before['robbench_version']} before, 9.9 after"
    )


def test_what_is_left_out_is_said(course: Course) -> None:
    """Older runs, and in what a group differs; of one run nothing is to be said."""
    assert notes(course([0.5, 0.5], older=3, differs=["seeds: 1 and 2"])) == [
        "no change point on the 200 samples that all these runs have",
        "3 earlier runs are left out: robbench history nightly --last all shows them",
        "apart, as these runs differ from the first in seeds: 1 and 2",
    ]
    assert notes(course([0.5])) == []


def test_two_runs_of_a_day_have_their_time(course: Course) -> None:
    """A day alone would not tell them apart."""
    assert dates(course([0.5, 0.5])) == ["2026-03-01", "2026-03-02"]
    assert dates(course([0.5, 0.5], hours=2)) == ["2026-03-01 04:00", "2026-03-01 06:00"]


def test_rates_are_in_points_and_distances_are_not(course: Course) -> None:
    """With their sign as changes; what is not known is a dash."""
    rate = course([0.5])
    size = course([0.5], measure="median_distance")
    assert (value(rate, 0.5), value(rate, -0.012, signed=True)) == ("50.0", "-1.2")
    assert (value(size, 0.01234), value(size, 0.5, signed=True)) == ("0.0123", "+0.5")
    assert interval(rate, 0.4, 0.6) == "40.0-60.0"
    assert interval(rate, -0.4, 0.6, signed=True) == "-40.0 to +60.0"
    assert interval(size, math.nan, 1.0) == interval(rate, None, None) == "-"
    assert heading(size) == "nightly: median distance, digits test, linf:0.15, pgd"


def test_under_a_target_it_is_no_robust_accuracy(course: Course) -> None:
    """As everywhere."""
    found = course([0.5])
    aimed = dataclasses.replace(found.steps[0], info={**found.info, "target": "3"})
    shown = dataclasses.replace(found, steps=[aimed])
    assert heading(shown).startswith("nightly: target not reached, ")


def test_a_commit_with_changed_files_is_marked() -> None:
    """A dash where the folder was no checkout."""
    assert commit({"git_sha": "0123456789", "git_dirty": True}) == "0123456+"
    assert commit({"git_sha": "0123456789", "git_dirty": False}) == "0123456"
    assert commit({"git_sha": None, "git_dirty": None}) == "-"
