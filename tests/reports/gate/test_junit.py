"""The XML that CI systems read."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import GateCheck, Tolerances
from robbench.reports.gate.junit import to_junit
from robbench.reports.gate.words import sentence


@pytest.mark.parametrize("first", [0, 1, 2, 4])
def test_junit_xml_is_what_ci_systems_read(
    finding: Callable[..., GateFinding], every: list[GateCheck], first: int
) -> None:
    """One suite that counts its cases, one per judged check: failures are regressions."""
    checks = every[first:]
    root = ET.fromstring(to_junit(finding(*checks), 3.0))
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    cases = suite.findall("testcase")
    assert len(cases) == max(len(checks), 1)
    for element in (root, suite):
        assert int(element.get("tests", "")) == len(cases)
        assert int(element.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(element.get("errors", "")) == len(suite.findall("testcase/error"))
        assert element.get("skipped") == "0"
    assert sum(float(case.get("time", "")) for case in cases) == pytest.approx(3.0, abs=0.01)
    assert all(case.get("classname") and case.get("name") for case in cases)
    for made, case in zip(checks, cases, strict=False):
        expected = {"regression": ["failure"], "undecided": ["error"]}.get(
            made.decision, ["system-out"]
        )
        assert [child.tag for child in case] == expected
        assert sentence(made) in (case[0].get("message") or case[0].text or "")


def test_too_little_evidence_that_passes_is_skipped(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """With `--undecided pass`, also where no sample was decided; a regression stays a failure."""
    passes = Tolerances(undecided_passes=True)
    for checks, tags in ((every[1:2], ["skipped"]), ([], ["skipped"]), (every[:1], ["failure"])):
        root = ET.fromstring(to_junit(finding(*checks, tolerances=passes), 1.0))
        assert [case[0].tag for case in root.iter("testcase")] == tags
        assert root.get("skipped") == str(tags.count("skipped"))
        assert root.get("errors") == "0"


def test_names_cannot_break_it(
    finding: Callable[..., GateFinding], every: list[GateCheck], info: dict[str, Any]
) -> None:
    """Control characters, markup and line ends in a name stay text."""
    evil = finding(
        *every, candidate=info | {"model": "a<b>&\x00\x1b[1m|`*\n::error::", "run_id": "r"}
    )
    suite = ET.fromstring(to_junit(evil, 1.0))[0]
    assert "a<b>&" in str(suite.get("name"))


def test_names_of_checks_against_the_last_runs_stay_from_night_to_night(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """They count the runs back; date and run id are in the message."""
    checks = [
        dataclasses.replace(every[0], back=back, since=f"2026-03-0{3 - back} (abcdef)")
        for back in (2, 1)
    ]
    cases = ET.fromstring(to_junit(finding(*checks), 3.0)).iter("testcase")
    names = [str(case.get("name")) for case in cases]
    assert names == ["robust accuracy, 2 back", "robust accuracy, 1 back"]
    assert "since 2026-03-02 (abcdef)" in to_junit(finding(*checks), 3.0)
