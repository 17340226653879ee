"""What checks say of a run, against all combinations written out."""

from __future__ import annotations

import itertools

import pytest

from robbench.analysis.checked import STATES, checked, speaks_against, state, worst


def check(verdict: str, severity: str, automatic: bool) -> dict[str, object]:
    return {"verdict": verdict, "severity": severity, "automatic": automatic}


@pytest.mark.parametrize(
    ("verdict", "severity", "expected"),
    [
        ("fail", "error", True),
        ("fail", "warning", True),
        ("fail", "info", False),
        ("pass", "error", False),
        ("unclear", "error", False),
        ("skipped", "warning", False),
    ],
)
def test_a_failure_that_is_more_than_information_speaks_against_a_run(
    verdict: str, severity: str, expected: bool
) -> None:
    assert speaks_against(check(verdict, severity, False)) is expected


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], "not checked"),
        ([check("pass", "error", True)], "not checked"),
        ([check("fail", "info", True)], "not checked"),
        ([check("fail", "error", True)], "fail"),
        ([check("pass", "error", True), check("pass", "error", False)], "pass"),
        ([check("fail", "info", False)], "pass"),
        ([check("pass", "error", False), check("fail", "warning", False)], "fail"),
    ],
)
def test_automatic_checks_count_only_where_one_failed(
    checks: list[dict[str, object]], expected: str
) -> None:
    assert state(checks) == expected
    assert checked(checks) is any(not each["automatic"] for each in checks)


def test_the_worst_of_several_runs() -> None:
    """A failed one, then one that was not checked; None counts for nothing."""
    for states in itertools.product((*STATES, None), repeat=3):
        expected = (
            "fail"
            if "fail" in states
            else "not checked"
            if "not checked" in states
            else "pass"
            if "pass" in states
            else None
        )
        assert worst(states) == expected
