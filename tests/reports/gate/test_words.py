"""A gate's verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import MARGIN, GateCheck
from robbench.reports.gate.words import heading, sentence, sentences

MEDIAN = {
    "metric": MARGIN,
    "baseline": 3.0,
    "candidate": 2.5,
    "drop": 0.5,
    "low": 0.1,
    "high": 0.9,
    "tolerance": 1.0,
    "lost": None,
    "won": None,
    "mcnemar_p": None,
    "method": "bootstrap",
}


@pytest.mark.parametrize(
    ("decision", "changes", "said"),
    [
        (
            "regression",
            {"tolerance": 0.01},
            "robust accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): a drop of at"
            " least 2.0 points is shown, 1.0 points tolerated",
        ),
        (
            "undecided",
            {"metric": "clean accuracy", "needed": 12345, "tolerance": 0.05},
            "clean accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): the drop is "
            "between +2.0 and +8.0, 5.0 points tolerated; about 13,000 samples are needed",
        ),
        (
            "pass",
            MEDIAN,
            "median margin fell by 0.5 (3 to 2.5, 500 samples): a drop above 0.9 is ruled "
            "out, 1 tolerated",
        ),
        (
            "not shown",
            {"metric": "class 3"},
            "robust accuracy of class 3 fell by 5.0 points (60.0% to 55.0%, 500 samples): "
            "the drop is between +2.0 and +8.0, 10.0 points tolerated",
        ),
        (
            "pass",
            {"drop": -0.002, "candidate": 0.602, "low": -0.01, "high": -0.001},
            "robust accuracy rose by 0.20 points (60.0% to 60.2%, 500 samples): a drop "
            "above 0.0 points is ruled out, 10.0 points tolerated",
        ),
        (
            "pass",
            {"drop": 0.0, "candidate": 0.6, "low": 0.0, "high": 0.0, "method": "these samples"},
            "robust accuracy did not change (60.0% to 60.0%, 500 samples); 10.0 points tolerated",
        ),
        (
            "undecided",
            {**MEDIAN, "low": -math.inf, "high": math.inf, "needed": 5},
            "median margin fell by 0.5 (3 to 2.5, 500 samples): the drop is between -inf and +inf, "
            "1 tolerated; at least 5 samples are needed",
        ),
        (
            "undecided",
            {**MEDIAN, "low": 0.2, "high": math.inf, "needed": None},
            "median margin fell by 0.5 (3 to 2.5, 500 samples): the drop is between +0.2 and +inf, "
            "1 tolerated; of so many samples no perturbation was found that there is no telling",
        ),
        (
            "undecided",
            {"needed": None},
            "robust accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): the drop is "
            "between +2.0 and +8.0, 10.0 points tolerated; too near to what is tolerated "
            "for any number of samples to tell",
        ),
    ],
)
def test_a_check_in_words(
    check: Callable[..., GateCheck], decision: str, changes: dict[str, Any], said: str
) -> None:
    """Which number, by how much, what is shown, what is tolerated, what would decide."""
    assert sentence(check(decision, **changes)) == said


def test_the_verdict_is_of_all_checks(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """A regression goes before missing evidence, that before a pass; "not shown" is ignored."""
    assert finding(*every).verdict == "regression"
    assert finding(*every[1:]).verdict == "undecided"
    assert finding(*every[2:]).verdict == "pass"
    assert finding().verdict == "undecided"
    assert sentences(finding(*every)) == [sentence(every[0])]
    assert sentences(finding(*every[1:])) == [sentence(every[1])]


def test_several_runs_share_a_heading_and_a_sentence(
    finding: Callable[..., GateFinding], check: Callable[..., GateCheck], info: dict[str, Any]
) -> None:
    """Of checks that say the same the one with the largest drop, and how many there are."""
    against = [info | {"started_at": datetime(2026, 3, day)} for day in (1, 2, 3)]
    small, large = check("regression", drop=0.03), check("regression", drop=0.08)
    found = finding(small, large, check("pass"), baseline=against[0], against=against)
    assert sentences(found) == [sentence(large), "1 more of these checks say the same"]
    assert heading(found).startswith("new (cdef00) against each of 3 runs of at since 2026-03-01: ")
    assert sentences(finding(small, baseline=against[0], against=against)) == [sentence(small)]
