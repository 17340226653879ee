"""A model's answers: rounding makes no other model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robbench.store.answers import largest_output, same_answers
from robbench.store.store import Store

LOGITS = np.array([[4.0, -1.0, 0.5], [100.0, 101.0, 99.0], [0.25, 0.0, -0.25]])


def _text(change: Any = 0.0, *, spread: float = 0.0, logits: Any = LOGITS) -> str:
    rows = (logits + change).tolist()
    rows = [[z if np.isfinite(z) else None for z in row] for row in rows]
    return json.dumps({"samples": rows[:1], "made": rows[1:], "spread": spread})


ROUNDED = LOGITS * (1 + 1e-5 * np.array([[1], [-1], [1]]))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (_text(), _text(), True),
        (_text(), _text(logits=ROUNDED), True),
        (_text(), _text(logits=LOGITS * 1.01), False),
        (_text(), _text(np.array([[0, 0, 0], [0, 0, 0], [0.0, 0, 0.01]])), False),
        (_text(), _text(logits=LOGITS[:, ::-1]), False),
        (_text(), _text(logits=LOGITS[:2]), False),
        (_text(spread=0.1), _text(0.1), True),
        (_text(0.1), _text(spread=0.1), True),
        (_text(spread=0.1), _text(1.0, spread=0.1), False),
        (_text(np.inf), _text(np.inf), True),
        (_text(), _text(np.array([[0, 0, 0], [0, 0, 0], [0, np.nan, 0]])), False),
        (None, _text(), True),
        (_text(), None, True),
        ("{}", _text(), False),
        ("no json", _text(), False),
    ],
)
def test_answers_are_the_same_up_to_rounding_and_up_to_the_models_own_spread(
    one: str | None, other: str | None, same: bool
) -> None:
    assert same_answers(one, other) is same
    assert same_answers(other, one) is same


def test_runs_on_other_samples_are_compared_by_made_inputs() -> None:
    moved = _text(np.array([[9.0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    assert not same_answers(_text(), moved)
    assert same_answers(_text(), moved, ("made",))
    assert not same_answers(
        _text(), _text(np.array([[0, 0, 0], [9.0, 0, 0], [0, 0, 0]])), ("made",)
    )


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        (_text(), 101.0),
        (_text(logits=-LOGITS), 101.0),
        (_text(np.array([[0, 0, 0], [0, -np.inf, np.nan], [0, 0, 0]])), 100.0),
        (None, 0.0),
        ("{}", 0.0),
        ("no json", 0.0),
    ],
)
def test_the_largest_output(text: str | None, largest: float) -> None:
    assert largest_output(text) == largest


def test_what_was_answered_first_is_kept(tmp_path: Path) -> None:
    partial = Store(tmp_path).partial("a" * 12)
    assert partial.answers() is None
    partial.keep_answers("one")
    partial.keep_answers("two")
    assert partial.answers() == "one"
    partial.discard()
    assert partial.answers() is None
