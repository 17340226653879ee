"""Histories as plain values."""

from __future__ import annotations

import json

from robbench.analysis.history import History
from robbench.reports.history.json import as_json, rows


def test_the_runs_and_the_changes(fallen: History) -> None:
    """Change points name runs, by the first after them and those they are between."""
    found = as_json(fallen)
    assert (found["model"], found["measure"], found["n_joint"]) == (
        "nightly",
        "robust_accuracy",
        200,
    )
    ids = [run["run_id"] for run in found["runs"]]
    assert found["changes"] == [
        {
            "run_id": ids[2],
            "after": ids[1],
            "up_to": ids[2],
            "p": 0.001,
            "value_before": 0.8,
            "value_after": 0.6,
        }
    ]
    assert found["runs"][0]["change"] is None
    assert found["runs"][2]["value"] == 0.6
    json.dumps(found, default=str)


def test_rows_repeat_what_is_shared(fallen: History) -> None:
    """And say after which a change point lies."""
    found = rows(fallen)
    assert [row["changed"] for row in found] == [False, False, True, False]
    assert {row["threat"] for row in found} == {"linf:0.15"}
    assert [row["value"] for row in found] == [0.8, 0.8, 0.6, 0.6]
