"""The matrix of checks: every outcome in its place, the gravest first, notes no failures."""

from __future__ import annotations

from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Notes
from robbench.reports.html.sections.checks import checks


def _check(name, verdict="pass", severity="error", text="t"):
    found = {"check": name, "verdict": verdict, "severity": severity, "text": text}
    return {**found, "figure": 0.5, "threshold": 0.1, "evidence": [1], "automatic": False}


def test_a_row_for_each_check_a_column_for_each_run(add_run):
    """The worst outcome of a row decides its place; what a run lacks is empty."""
    runs = [add_run("a" * 12)[1], add_run("b" * 12, model="at", model_hash="at")[1]]
    found = {
        "a" * 12: [_check("good"), _check("info", "fail", "info"), _check("bad", "fail")],
        "b" * 12: [_check("good"), _check("info", "skipped", "info"), _check("odd", "unclear")],
    }
    matrix, findings, every = checks(ReportData(runs, checks=found)).blocks
    signs = {row[0].text: [cell.spoken for cell in row[1:]] for row in matrix.rows}
    assert signs == {
        "bad": ["failed, an error", "not run"],
        "info": ["a note", "skipped"],
        "odd": ["not run", "cannot tell"],
        "good": ["passed", "passed"],
    }
    assert list(signs) == ["bad", "info", "odd", "good"]
    assert [row[0].text for row in findings.rows] == ["bad", "info", "odd"]
    assert "failed" not in findings.rows[1][1].text
    assert (len(every.rows), every.folded) == (6, True)


def test_one_line_for_what_many_runs_share(add_run):
    """A dozen runs with one finding have one row; runs without checks are counted."""
    ids = [f"{i:012x}" for i in range(5)]
    runs = [add_run(name, model=name, model_hash=name)[1] for name in ids]
    found = {name: [_check("tried", "fail", "info", "add square")] for name in ids[:4]}
    _, findings, _, notes = checks(ReportData(runs, checks=found)).blocks
    assert [[cell.text for cell in row[:3]] for row in findings.rows] == [
        ["tried", "a note", "all 4 runs"]
    ]
    assert isinstance(notes, Notes)
    assert notes.lines == [
        f"robbench check was not run on 1 run; it makes all checks: robbench check {ids[4]}"
    ]


def test_no_check_is_asked_for_of_corruptions(add_run):
    """Checks are of attacks: a command that would refuse is not advised."""
    attacked = add_run("a" * 12)[1]
    fog = {"norm": "corruption:fog", "eps": 3.0, "threat": "corruption:fog@3"}
    corrupted = add_run("b" * 12, **fog)[1]
    assert "robbench check" in checks(ReportData([attacked, corrupted])).missing(None)
    assert "b" * 12 not in checks(ReportData([attacked, corrupted])).missing(None)
    assert "robbench check" not in checks(ReportData([corrupted])).missing(None)
    found = {"a" * 12: [_check("good")]}
    shown = checks(ReportData([attacked, corrupted], checks=found))
    assert not [block for block in shown.blocks if isinstance(block, Notes)]
