"""What tells two rows of a table apart is said in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robbench.analysis.compare import compare
from robbench.reports.formats import to_markdown
from robbench.reports.latex.table import to_latex
from robbench.store.run import Run
from robbench.store.settings import settings

Stored = Callable[..., Run]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "bf16"}, ["fp32", "bf16"]),
        ({"precision": "fp32"}, [None, None]),  # which an older run, that does not say, had too
        ({"seed": 1}, ["seed 0", "seed 1"]),
        ({"device": "cuda:1"}, ["x", "cuda"]),
        ({"config": json.dumps({"compile": True})}, ["not compiled", "compiled"]),
        ({"config": json.dumps({"replay": ["a"]})}, ["nothing replayed", "points replayed"]),
        ({"model_hash": "1234567890"}, ["weights x", "weights 1234"]),
        ({"model_hash": "1234567890", "model": "other"}, [None, None]),
        ({"precision": "bf16", "model": "other"}, ["fp32", "bf16"]),
        ({"precision": "bf16", "seed": 2}, ["fp32, seed 0", "bf16, seed 2"]),
        ({"precision": "bf16", "attack": "fgsm"}, [None, None]),  # a table of its own
        ({"precision": "bf16", "threat": "linf:0.3"}, [None, None]),
    ],
)
def test_only_what_differs_is_told(
    changes: dict[str, Any], said: list[str | None], stored: Stored
) -> None:
    """Of two runs that differ in this."""
    assert settings([stored("aaaa").info, stored("bbbb", **changes).info]) == said


def test_no_two_rows_of_a_table_look_alike(stored: Stored) -> None:
    """In Markdown and LaTeX too, and as columns of their own."""
    rows = compare([stored("aaaa"), stored("bbbb", precision="bf16")])
    assert [(row["precision"], row["seed"], row["settings"]) for row in rows] == [
        (None, 0, "fp32"),
        ("bf16", 0, "bf16"),
    ]
    for precision in ("fp32", "bf16"):
        assert f"| {precision} |" in to_markdown(rows)
        assert f"ce ({precision})" in to_markdown(rows, ("model", "seed"))
        assert f"& {precision} &" in to_latex(rows)
        assert f"ce ({precision})" in to_latex(rows, ("model", "seed"))
    assert "(" not in to_markdown(compare([stored("aaaa")]), ("model",)).splitlines()[2]
    assert "| bf16 |" in to_markdown(rows, ("model", "precision"))
