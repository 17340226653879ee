"""The JSON object of a gate."""

from __future__ import annotations

from collections.abc import Callable

from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import GateCheck
from robbench.reports.gate.json import to_json
from robbench.reports.gate.words import sentences


def test_it_says_verdict_sentences_and_notes(
    finding: Callable[..., GateFinding], every: list[GateCheck]
) -> None:
    """And every check, in order."""
    made = finding(*every[1:])
    content = to_json(made)
    assert (content["verdict"], content["exit_code"]) == ("undecided", 4)
    assert content["messages"] == sentences(made)
    assert content["notes"] == ["both runs are of the same weights"]
    assert [row["metric"] for row in content["checks"]] == [row.metric for row in every[1:]]
