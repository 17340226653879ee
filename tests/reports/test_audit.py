"""The words for an audit, of rows of the runs table."""

from __future__ import annotations

from typing import Any

import pytest

from robbench.reports import audit

ROW: dict[str, Any] = {
    "model": "at",
    "attack": "autoattack-fast",
    "target": None,
    "robust_accuracy": 0.6292,
    "audit_attack": "autoattack",
    "n_survivors": 5920,
    "n_audited": 300,
    "n_audit_broken": 3,
    "audit_missed_high": 0.02541,
    "robust_accuracy_audited": 0.61379,
}
NONE = dict.fromkeys(
    (
        "audit_attack",
        "n_survivors",
        "n_audited",
        "n_audit_broken",
        "audit_missed_high",
        "robust_accuracy_audited",
    )
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "audit: autoattack on 300 of 5,920 survivors broke 3, which count as adversarial; it "
            "would break at most 2.6% of all of them (95 %): robust accuracy at least 61.3%",
        ),
        (
            {"n_audit_broken": 0, "audit_missed_high": 0.01},
            "audit: autoattack on 300 of 5,920 survivors broke 0; it would break at most 1.0% of "
            "all of them (95 %): robust accuracy at least 61.3%",
        ),
        ({"n_survivors": None}, "audit: autoattack on 300 survivors broke 3, which count as"),
        ({"n_survivors": 300}, "audit: autoattack on all 300 survivors broke 3, which count as"),
        ({"target": "cat"}, "(95 %): target not reached at least 61.3%"),
        ({"n_audited": 0, "n_audit_broken": 0}, "audit: no sample was left to attack"),
        ({"robust_accuracy_audited": None}, "would break at most 2.6% of all of them (95 %)"),
        (NONE, "not audited: autoattack may break more than autoattack-fast; --audit 300 bounds"),
    ],
)
def test_one_line_says_what_an_audit_shows(changes: dict[str, Any], said: str) -> None:
    """Bounds are rounded to the safe side: a share missed up, a robust accuracy down."""
    assert said in audit.audit(ROW | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": "pgd:steps=10"},
        {"attack": "autoattack"},
        {"attack": "autoattack-fast + autoattack"},
        {"attack": "pyautoattack"},
        {"robust_accuracy": 0.0},
        {"robust_accuracy": None},
    ],
)
def test_only_a_cheap_cascade_with_survivors_wants_an_audit(changes: dict[str, Any]) -> None:
    assert audit.audit(ROW | NONE | changes) == ""


@pytest.mark.parametrize("share", [0.001, 0.0095, 0.01, 0.579, 0.6, 0.99999])
def test_bounds_are_rounded_down(share: float) -> None:
    """Never above the number itself, and by less than a tenth of a point."""
    text = audit.at_least({"robust_accuracy_audited": share})
    assert -0.1 < float(text.rstrip("%")) - 100 * share < 1e-6


def test_a_table_says_once_which_runs_have_no_audit() -> None:
    """One line for all of them, and what the bound is where a row has one."""
    rows = [ROW, ROW | NONE | {"model": "ce"}, ROW | NONE | {"model": "trades"}]
    bound, without = audit.of_a_table(rows)
    assert bound.startswith("At least:")
    assert without.startswith("Not audited: ce, trades; autoattack may break")
    assert audit.of_a_table([ROW | NONE | {"attack": "pgd"}]) == []


def test_means_over_training_seeds_have_a_bound_and_no_line() -> None:
    """The counts of several draws are no draw."""
    assert audit.shown(ROW | {"n_seeds": 3}) == ""
    assert audit.has_bound(ROW | {"n_seeds": 3})
