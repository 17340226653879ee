"""Warnings in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest

from robbench.analysis.gate import GateFinding, Note, NoteName
from robbench.reports.gate.notes import notes

FACTS: dict[NoteName, tuple[dict[str, Any], str]] = {
    "same-weights": ({}, "same weights"),
    "unfinished": ({"which": "baseline", "n": 7}, "7 samples of the baseline"),
    "flag": ({"which": "candidate", "name": "loss-gap", "text": "{odd}"}, "loss-gap: {odd}"),
    "edited": ({"which": "candidate", "text": "changed"}, "candidate: changed"),
    "replayed": ({"which": "candidate", "other": "baseline"}, "the baseline was not"),
    "audited-differently": (
        {"baseline": "autoattack on 300", "candidate": "no audit"},
        "baseline autoattack on 300, candidate no audit",
    ),
    "seeds": ({"baseline": 1, "candidate": 2}, "1 and 2"),
    "trained-since": ({"model": "at"}, "model at was trained again"),
    "out-of-time": ({}, "the same command goes on"),
    "fewer-runs": ({"found": 4, "asked": 10}, "there are 4 comparable runs before it, not 10"),
    "unreadable": ({"text": "x.parquet is damaged"}, "left out: x.parquet is damaged"),
    "unknown-run": ({"text": "x.parquet is damaged"}, "may be of an earlier run: x.parquet is"),
    "own-weights": ({"n": 2, "of": 5}, "2 of the 5 runs are of the candidate's own weights"),
    "stopped-early": ({"seen": 40, "total": 500}, "40 of 500"),
}


@pytest.mark.parametrize("name", get_args(NoteName))
def test_every_warning_has_words_for_its_facts(
    finding: Callable[..., GateFinding], name: NoteName
) -> None:
    """Braces in a text of others stay as they are."""
    facts, said = FACTS[name]
    (text,) = notes(finding(notes=[Note(name, facts)]))
    assert said in text


def test_audits_of_both_runs_are_said_first(
    finding: Callable[..., GateFinding], info: dict[str, Any]
) -> None:
    """In one line where they are alike, and nothing of runs that want none."""
    plain = info | {"robust_accuracy": 0.5}
    cheap = plain | {"attack": "autoattack-fast"}
    both = notes(finding(baseline=cheap, candidate=cheap, notes=[Note("same-weights")]))
    assert both[0].startswith("baseline and candidate: not audited: autoattack may break")
    assert both[1:] == ["both runs are of the same weights"]
    audited = cheap | {"audit_attack": "autoattack", "n_survivors": 250, "n_audited": 20}
    audited |= {"n_audit_broken": 1, "target": None}
    audited |= {"audit_missed_high": 0.2, "robust_accuracy_audited": 0.4}
    (said,) = notes(finding(baseline=plain, candidate=audited, notes=[]))
    assert said.startswith("candidate: audit: autoattack on 20 of 250 survivors broke 1,")
