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
        ({"config": json.dumps({"audit": 300})}, ["no audit", "audit 300"]),
        (
            {"config": json.dumps({"audit": 9, "audit_attack": ["square"], "adaptive": True})},
            ["no audit", "audit 9 by square, adaptive"],
        ),
        ({"model_hash": "1234567890"}, ["weights x", "weights 1234"]),
        ({"model_hash": "1234567890", "model": "other"}, [None, None]),
        (
            {"provenance": json.dumps({"attack_code": ["own 3020abcd3020abcd"]})},
            [None, "code 3020"],
        ),
        ({"provenance": json.dumps({"attack_code": ["robbench 0.1.0"]})}, [None, None]),
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


ANSWERS = {"samples": [[1.0, 2.0]], "made": [[3.0, 4.0]], "spread": 0.0}


@pytest.mark.parametrize(
    ("arch", "made", "said"),
    [
        ("nets:Net", [[3.0, 4.0]], ["code 9999", "code 1234"]),
        ("nets:Net", [[3.0, 5.0]], ["weights 9999", "weights 1234"]),
        ("small-cnn:width=8", [[3.0, 4.0]], ["weights 9999", "weights 1234"]),
    ],
)
def test_private_code_that_answers_alike_has_equal_weights(
    arch: str, made: list[list[float]], said: list[str], stored: Stored
) -> None:
    """A comment in its file makes another hash, and no other model."""
    one = stored("aaaa", model_arch=arch, model_hash="9999", answers=json.dumps(ANSWERS))
    answers = json.dumps(ANSWERS | {"made": made})
    other = stored("bbbb", model_arch=arch, model_hash="1234567890", answers=answers)
    assert settings([one.info, other.info]) == said
