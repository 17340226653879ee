"""The file and the command of a suggestion; names are others', so no line of theirs is code."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.suggest import Entry, Judged, Suggestion
from robbench.reports.suggestion import budgets, cascade_file, command_of, queries, verdict

RUNS: list[dict[str, Any]] = [
    {
        "run_id": "aaaa",
        "model": "ce\nattacks = []",
        "threat": "linf:0.1",
        "eps": 0.1,
        "attack": "a",
        "model_hash": "1",
        "model_arch": "x",
    }
]


def _found(missed: int = 2, unseen: int = 1) -> Suggestion:
    it = Judged("suggestion", 50, 0.4, (20.0, 18.4), (9.0, 7.0), 0.4, 0, 0, 1.0)
    entry = Entry('a"b:steps=3', False, 40, 50, 10, 4, 3)
    return Suggestion((entry.spec,), (entry,), (), 60, 50, 7, it, it, (it,), missed, unseen, 0.0812)


def test_the_file_says_where_it_comes_from() -> None:
    """Its figures and runs are comments, each on a line of its own; the rest is one list."""
    text = cascade_file(_found(), RUNS)
    assert tomllib.loads(text) == {"attacks": ['a"b:steps=3']}
    for said in ("aaaa", "seed 7", "40.0%", "20+18 per survivor", "misses 2", "8.1 points"):
        assert said in text
    assert all(len(line.split("\n")) == 1 for line in text.splitlines())


@pytest.mark.parametrize(
    ("missed", "unseen", "said"),
    [(0, 0, "breaks all that any run broke"), (2, 0, "misses 2"), (2, 1, "on 1 of them not all")],
)
def test_the_verdict(missed: int, unseen: int, said: str) -> None:
    """Misses are facts only where all its attacks were seen to fail."""
    assert said in verdict(_found(missed, unseen))
    assert ("tried" in verdict(_found(missed, unseen))) == (unseen > 0)


def test_the_command() -> None:
    """With the file or the attacks themselves; the threat where there is one; quoted."""
    command = command_of(_found(), RUNS, Path("a b.toml"), trusted=False)
    words = ["robbench", "attack", "MODEL", "--attack", "a b.toml", "--threat", "linf:0.1"]
    assert shlex.split(command) == [*words, "--audit", "300"]
    other = [*RUNS, RUNS[0] | {"threat": "linf:0.2", "eps": 0.2, "model_hash": "2"}]
    command = command_of(_found(), other, None, trusted=True)
    assert shlex.split(command)[3:] == ["--attack", 'a"b:steps=3', "--audit", "300", "--trust-code"]
    assert budgets(other[::-1]) == "linf:0.1, linf:0.2; 2 models, 2 runs"
    assert queries(None) == "-"
