"""What a gate says: the same in every form, 80 columns wide, well-formed, and safe to paste."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import MARGIN, ROBUST, GateCheck, Tolerances
from robbench.reports.terminal.gate import (
    annotation,
    gate_table,
    github_lines,
    sentence,
    sentences,
    to_json,
    to_junit,
    to_markdown,
)

INFO = {"run_id": "0123456789ab", "model": "at", "data": "digits", "split": "test", "threat": "linf:0.15",
        "attack": "pgd + apgd", "n_samples": 500, "status": "done", "model_hash": "x"}  # fmt: skip


def check(decision: Any = "pass", **changes: Any) -> GateCheck:
    values: dict[str, Any] = {
        "metric": ROBUST, "baseline": 0.6, "candidate": 0.55, "drop": 0.05, "low": 0.02, "high": 0.08, "tolerance": 0.1,
        "decision": decision, "n": 500, "method": "exact", "lost": 40, "won": 15, "mcnemar_p": 0.001,
    }  # fmt: skip
    return GateCheck(**values | changes)


def finding(*checks: GateCheck, **changes: Any) -> GateFinding:
    values: dict[str, Any] = {
        "checks": checks, "baseline": INFO, "candidate": INFO | {"model": "new", "run_id": "cdef00000000"},
        "tolerances": Tolerances(), "seen": 500, "total": 500, "notes": ["mind the gap"],
    }  # fmt: skip
    return GateFinding(**values | changes)


ALL = [
    check("regression", tolerance=0.01),
    check("undecided", metric="clean accuracy", needed=12345, tolerance=0.05),
    check("pass", metric=MARGIN, baseline=3.0, candidate=2.5, drop=0.5, low=0.1, high=0.9, tolerance=1.0, lost=None, won=None,
          mcnemar_p=None, method="bootstrap"),
    check("not shown", metric="class 3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (ALL[0], "robust accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): a drop of at least 2.0 points is shown, "
                 "1.0 points tolerated"),
        (ALL[1], "clean accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): the drop is between +2.0 and +8.0, 5.0 points "
                 "tolerated; about 13,000 samples are needed"),
        (ALL[2], "median margin fell by 0.5 (3 to 2.5, 500 samples): a drop above 0.9 is ruled out, 1 tolerated"),
        (ALL[3], "robust accuracy of class 3 fell by 5.0 points (60.0% to 55.0%, 500 samples): the drop is between +2.0 and "
                 "+8.0, 10.0 points tolerated"),
        (check("pass", drop=-0.002, candidate=0.602, low=-0.01, high=-0.001),
         "robust accuracy rose by 0.20 points (60.0% to 60.2%, 500 samples): a drop above 0.0 points is ruled out, 10.0 points "
         "tolerated"),
        (check("pass", drop=0.0, candidate=0.6, low=0.0, high=0.0, method="these samples"),
         "robust accuracy did not change (60.0% to 60.0%, 500 samples); 10.0 points tolerated"),
        (check("undecided", needed=None),
         "robust accuracy fell by 5.0 points (60.0% to 55.0%, 500 samples): the drop is between +2.0 and +8.0, 10.0 points "
         "tolerated; too near to what is tolerated for any number of samples to tell"),
    ],
)  # fmt: skip
def test_a_check_in_words(made: GateCheck, said: str) -> None:
    """Which number, by how much, what is shown, what is tolerated, what would decide."""
    assert sentence(made) == said


def test_the_verdict_is_of_all_checks() -> None:
    """A regression before a lack of evidence before a pass; a check that nothing depends on does not count."""
    assert finding(*ALL).verdict == "regression"
    assert finding(*ALL[1:]).verdict == "undecided"
    assert finding(*ALL[2:]).verdict == "pass"
    assert finding().verdict == "undecided"
    assert sentences(finding(*ALL)) == [sentence(ALL[0])]
    assert sentences(finding(*ALL[1:])) == [sentence(ALL[1])]


def test_the_table_fits_80_columns() -> None:
    """With long names, and the verdict as the last line."""
    wide = finding(*ALL, baseline=INFO | {"model": "m" * 90, "attack": "a + " * 40})
    text = io.StringIO()
    Console(file=text, width=80).print(gate_table(wide))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "REGRESSION"
    assert "mind the gap" in lines
    assert "..." not in text.getvalue()
    assert "…" not in text.getvalue()


@pytest.mark.parametrize("checks", [ALL, ALL[1:], ALL[2:], ()])
def test_junit_xml_is_what_ci_systems_read(checks: list[GateCheck]) -> None:
    """One suite whose counts are those of its cases, a case per judged check, failure for a regression, error for too little."""
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


def test_names_cannot_break_the_xml_the_markdown_or_the_annotation() -> None:
    """Control characters, markup and line ends in a name stay text."""
    evil = finding(
        *ALL, candidate=INFO | {"model": "a<b>&\x00\x1b[1m|`*\n::error::", "run_id": "r"}
    )
    suite = ET.fromstring(to_junit(evil, 1.0))[0]
    assert "a<b>&" in str(suite.get("name"))
    table = [line for line in to_markdown(evil).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "a\\<b\\>" in to_markdown(evil)
    assert all(
        line.startswith("::error title=") and "\n" not in line for line in github_lines(evil)
    )
    assert annotation("notice", "a:b,c", "50%\r\nx") == "::notice title=a%3Ab%2Cc::50%25%0D%0Ax"


def test_every_form_says_the_same() -> None:
    """Verdict, sentences and notes."""
    made = finding(*ALL[1:])
    content, markdown = to_json(made), to_markdown(made)
    assert (content["verdict"], content["exit_code"]) == ("undecided", 4)
    assert content["messages"] == sentences(made)
    assert content["notes"] == ["mind the gap"]
    assert [row["metric"] for row in content["checks"]] == [row.metric for row in ALL[1:]]
    assert markdown.startswith("### robbench gate: not enough evidence\n")
    assert "- mind the gap" in markdown
    assert [line.partition(" ")[0] for line in github_lines(made)] == ["::error"]
    assert [line.partition(" ")[0] for line in github_lines(finding(*ALL[2:]))] == ["::notice"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_number_of_the_table_is_cut(width: int) -> None:
    """Where a line is too short for all of them, each has a line of its own."""
    text = io.StringIO()
    Console(file=text, width=width).print(gate_table(finding(*ALL)))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    assert shown.count("+5.0 (+2.0 to +8.0)") == 3
    assert "…" not in shown
