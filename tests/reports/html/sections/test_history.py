"""A model's runs over time as a section of the page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from robbench.reports.html.data import ReportData
from robbench.reports.html.sections.history import over_time
from robbench.store.run import Run


@pytest.fixture
def nights(
    add_run: Callable[..., Any], handmade_rows: Callable[..., list[dict[str, Any]]]
) -> Callable[..., list[Run]]:
    """Runs of a model on as many days, which keep so many of 40 samples."""

    def make(*kept: int, **changes: Any) -> list[Run]:
        found = []
        for i, k in enumerate(kept):
            rows = [
                {**row, "robust": j < k, "adversarial": j >= k, "clean_correct": True}
                for j, row in enumerate(handmade_rows(eps=float("inf")))
            ]
            day = datetime(2026, 1, 1 + i, tzinfo=UTC)
            facts = {"started_at": day, "finished_at": day + timedelta(seconds=1)}
            facts |= {"model_hash": f"{i}fedcba", "git_sha": f"{i}abcdef01"} | changes
            found.append(
                add_run(f"{i}{changes.get('model', 'ce')}".ljust(12, "0"), rows, **facts)[1]
            )
        return found

    return make


def test_each_model_has_a_figure_and_its_table(nights: Callable[..., list[Run]]) -> None:
    """Values, intervals and the change point are those of the rows, oldest first."""
    runs = nights(36, 36, 16, 16)
    plot, notes = over_time(ReportData(runs[::-1])).blocks
    (trace,) = plot.figure.data
    assert list(trace.y) == pytest.approx([90, 90, 40, 40])
    assert [shape.x0 for shape in plot.figure.layout.shapes] == [2.5]
    assert plot.figure.layout.xaxis.ticktext[0] == "2026-01-01"
    assert [row[5].text for row in plot.data.rows] == ["90.0", "90.0", "40.0", "40.0"]
    assert [row[9].text for row in plot.data.rows] == ["", "", "yes", ""]
    assert trace.error_y.array[0] + 90 == pytest.approx(96.0, abs=0.5)
    assert "2026-01-03: 40.0 %" in plot.alt
    assert notes.lines[0].startswith("change point at 2ce000 (2026-01-03, 2abcdef)")


def test_it_says_how_many_earlier_runs_are_left_out(
    nights: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure of the last ones alone is not taken for all."""
    monkeypatch.setattr("robbench.reports.html.sections.history.LAST", 3)
    plot, notes = over_time(ReportData(nights(36, 36, 30, 30, 30))).blocks
    assert len(plot.data.rows) == 3
    assert notes.lines[-1].startswith("2 earlier runs are left out: robbench history ce")


def test_too_few_runs_and_runs_that_differ_are_no_course(nights: Callable[..., list[Run]]) -> None:
    """Two trainings, one training attacked thrice, or three threats: how to get one is said."""
    same = nights(30, 20, 10, model="same", model_hash="h")
    apart = [nights(30, model=f"m{i}", eps=0.1 + i, threat=f"linf:{0.1 + i}")[0] for i in range(3)]
    found = over_time(ReportData([*nights(30, 20), *same, *apart]))
    assert not found.blocks
    assert "robbench attack" in found.text


def test_distances_that_are_infinite_leave_a_gap(nights: Callable[..., list[Run]]) -> None:
    """Of runs without a budget it is the median distance."""
    runs = nights(0, 40, 0, eps=float("inf"), threat="linf:inf")
    (plot, _) = over_time(ReportData(runs)).blocks
    (trace,) = plot.figure.data
    assert trace.y[1] is None
    assert trace.y[0] is not None
    assert "median distance" in plot.title


def test_corruptions_are_one_figure_of_their_mean(
    add_run: Callable[..., Any], handmade_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """Two severities under which three weights keep so many of 40 samples."""
    runs = []
    for severity, kept in ((1, (36, 32, 28)), (5, (20, 16, 12))):
        for i, k in enumerate(kept):
            rows = [
                {**row, "robust": j < k, "adversarial": j >= k}
                for j, row in enumerate(handmade_rows())
            ]
            threat = {"norm": "corruption:fog", "threat": f"corruption:fog@{severity}"}
            facts = threat | {"attack": "none", "model_hash": f"{i}fedcba"}
            facts |= {"started_at": datetime(2026, 1, 1 + i, severity, tzinfo=UTC)}
            runs.append(add_run(f"{i}{severity}".ljust(12, "0"), rows, float(severity), **facts)[1])
    plot, _ = over_time(ReportData(runs)).blocks
    assert plot.title == "ce: mean accuracy, digits test, 2 threat models of corruptions"
    assert list(plot.figure.data[0].y) == pytest.approx([70, 60, 50])
