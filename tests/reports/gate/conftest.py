"""Checks and findings as a gate makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robbench.analysis.gate import GateFinding, Note
from robbench.analysis.gate_checks import MARGIN, ROBUST, GateCheck, Tolerances

INFO = {
    "run_id": "0123456789ab",
    "model": "at",
    "data": "digits",
    "split": "test",
    "threat": "linf:0.15",
    "attack": "pgd + apgd",
    "n_samples": 500,
    "status": "done",
    "model_hash": "x",
}


def make_check(decision: Any = "pass", **changes: Any) -> GateCheck:
    values: dict[str, Any] = {
        "metric": ROBUST,
        "baseline": 0.6,
        "candidate": 0.55,
        "drop": 0.05,
        "low": 0.02,
        "high": 0.08,
        "tolerance": 0.1,
        "decision": decision,
        "n": 500,
        "method": "exact",
        "lost": 40,
        "won": 15,
        "mcnemar_p": 0.001,
    }
    return GateCheck(**values | changes)


def make_finding(*checks: GateCheck, **changes: Any) -> GateFinding:
    values: dict[str, Any] = {
        "checks": checks,
        "baseline": INFO,
        "candidate": INFO | {"model": "new", "run_id": "cdef00000000"},
        "tolerances": Tolerances(),
        "seen": 500,
        "total": 500,
        "notes": [Note("same-weights")],
    }
    return GateFinding(**values | changes)


@pytest.fixture(name="info")
def _info() -> dict[str, Any]:
    """Of the baseline, what its row of the runs table says."""
    return dict(INFO)


@pytest.fixture(name="check")
def _check() -> Callable[..., GateCheck]:
    """Makes a check from its decision and what is unlike the usual."""
    return make_check


@pytest.fixture(name="finding")
def _finding() -> Callable[..., GateFinding]:
    """Makes a finding from its checks and what is unlike the usual."""
    return make_finding


@pytest.fixture
def every() -> list[GateCheck]:
    """A check of each decision: regression, undecided, pass, not shown."""
    return [
        make_check("regression", tolerance=0.01),
        make_check("undecided", metric="clean accuracy", needed=12345, tolerance=0.05),
        make_check(
            "pass",
            metric=MARGIN,
            baseline=3.0,
            candidate=2.5,
            drop=0.5,
            low=0.1,
            high=0.9,
            tolerance=1.0,
            lost=None,
            won=None,
            mcnemar_p=None,
            method="bootstrap",
        ),
        make_check("not shown", metric="class 3"),
    ]
