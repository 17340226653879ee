"""Robust accuracy left after so many queries, against counting."""

from __future__ import annotations

import json
import math

import pytest

from robbench.analysis.plots.cost import robustness_by_cost
from robbench.core.errors import UserError
from robbench.statistics.proportions import wilson


def test_what_is_left_is_counted(add_run, handmade_rows):
    """Samples broken with at most x queries are gone; the last value is robust accuracy."""
    rows = handmade_rows()
    for i, row in enumerate(rows):
        row["n_forward"], row["n_backward"] = (i % 7 + 1, i % 5) if row["adversarial"] else (30, 20)
    run = add_run("a" * 12, rows)[1]
    (line,) = robustness_by_cost([run]).lines
    for x, y, low, high in zip(line.x, line.y, line.low, line.high, strict=True):
        left = sum(
            not row["adversarial"] or row["n_forward"] + row["n_backward"] > x for row in rows
        )
        assert y == left / 40
        assert (low, high) == pytest.approx(wilson(left, 40))
    assert (line.x[0], line.x[-1]) == (1, 50)
    assert line.y[-1] == run.info["robust_accuracy"]
    assert line.y[0] < 1, "some fell with one query"


def test_without_a_budget_there_is_nothing_to_draw(add_run, handmade_rows):
    """One clear line."""
    run = add_run("a" * 12, handmade_rows(eps=math.inf), eps=math.inf, threat="linf:inf")[1]
    with pytest.raises(UserError, match="linf:inf has no budget"):
        robustness_by_cost([run])


def test_queries_at_smaller_budgets_are_told(add_run, handmade_rows):
    """A run of a security curve says that its samples paid for smaller budgets first."""
    curve = json.dumps({"threat": ["linf:0.05,0.1"]})
    larger = add_run("a" * 12, handmade_rows(), config=curve)[1]
    (text,) = robustness_by_cost([larger]).warnings
    assert "ce, linf:0.1: queries include those at the smaller budgets of its run (0.05)" in text
    alone = add_run("b" * 12, handmade_rows(), config=json.dumps({"threat": ["linf:0.1"]}))[1]
    assert not robustness_by_cost([alone]).warnings
