"""Histories as plain values: what the command prints as JSON, and the rows of the Python API."""

from __future__ import annotations

from typing import Any

from robbench.analysis.history import History, Step

_SHARED = ("model", "data", "split", "threat", "attack")
_OF_RUN = ("run_id", "started_at", "git_sha", "git_dirty", "robbench_version", "model_hash")


def as_json(found: History) -> dict[str, Any]:
    """One history: what its runs share, a row for each, oldest first, and its change points."""
    return {
        **{name: found.info[name] for name in _SHARED},
        "measure": found.measure,
        "differs": list(found.differs),
        "older": found.older,
        "n_joint": found.joint,
        "runs": [_row(step) for step in found.steps],
        "changes": [
            {
                "run_id": _id(found, shift.run),
                "after": _id(found, shift.first),
                "up_to": _id(found, shift.last),
                "p": shift.p,
                "value_before": shift.before,
                "value_after": shift.after,
            }
            for shift in found.shifts
        ],
    }


def rows(found: History) -> list[dict[str, Any]]:
    """A row for each run, with what the runs share and whether a change point is before it."""
    changed = {shift.run for shift in found.shifts}
    shared = {name: found.info[name] for name in _SHARED} | {"measure": found.measure}
    return [{**shared, **_row(step), "changed": i in changed} for i, step in enumerate(found.steps)]


def _row(step: Step) -> dict[str, Any]:
    return {
        **{name: step.info[name] for name in _OF_RUN},
        "n_samples": step.n,
        "value": step.value,
        "low": step.low,
        "high": step.high,
        "change": step.change,
        "change_low": step.change_low,
        "change_high": step.change_high,
        "n_paired": step.paired,
        "settings": step.settings,
    }


def _id(found: History, run: int) -> str:
    return str(found.steps[run].info["run_id"])
