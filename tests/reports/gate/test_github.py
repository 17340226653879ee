"""Annotations: a line each, of the level the verdict asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import GateCheck, Tolerances
from robbench.reports.gate.github import annotation, github_lines


def test_the_level_is_that_of_the_verdict(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """Whatever fails a build is an error."""
    lines = list(github_lines(finding(*every[1:])))
    assert [line.partition(" ")[0] for line in lines] == ["::error"]
    lines = list(github_lines(finding(*every[2:])))
    assert [line.partition(" ")[0] for line in lines] == ["::notice"]
    lines = list(github_lines(finding(*every[1:], tolerances=Tolerances(undecided_passes=True))))
    assert [line.partition(" ")[0] for line in lines] == ["::warning"]


def test_names_cannot_break_it(
    finding: Callable[..., GateFinding], every: list[GateCheck], info: dict[str, Any]
) -> None:
    """Line ends and what would end a property are escaped."""
    evil = finding(
        *every, candidate=info | {"model": "a<b>&\x00\x1b[1m|`*\n::error::", "run_id": "r"}
    )
    assert all(
        line.startswith("::error title=") and "\n" not in line for line in github_lines(evil)
    )
    assert annotation("notice", "a:b,c", "50%\r\nx") == "::notice title=a%3Ab%2Cc::50%25%0D%0Ax"
