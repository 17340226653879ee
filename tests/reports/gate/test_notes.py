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
    "seeds": ({"baseline": 1, "candidate": 2}, "1 and 2"),
    "trained-since": ({"model": "at"}, "model at was trained again"),
    "out-of-time": ({}, "the same command goes on"),
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
