"""Runs of models' names over time as lines."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from robbench.analysis.plots.history import over_time
from robbench.core.errors import UserError
from robbench.statistics.proportions import wilson


@pytest.fixture
def nights(add_run, handmade_rows):
    """Runs of a model on as many days, which keep so many of 40 samples."""

    def make(name, *kept, eps=0.1, **changes):
        found = []
        for i, k in enumerate(kept):
            rows = [
                {**row, "robust": j < k, "adversarial": j >= k}
                for j, row in enumerate(handmade_rows(eps=math.inf))
            ]
            facts = {"started_at": datetime(2026, 1, 1 + i, tzinfo=UTC), "model_hash": f"{i}"}
            facts |= {"model": name, "threat": f"linf:{eps}"} | changes
            found.append(add_run(f"{name}{i}".ljust(12, "0"), rows, eps=eps, **facts)[1])
        return found

    return make


def test_a_line_for_each_name_in_order_of_time(nights):
    """Values and Wilson intervals by run number; a name with one run is left out and named."""
    runs = nights("ce", 30, 20, 10) + nights("at", 25, 35) + nights("once", 5)
    plotted = over_time(runs[::-1])
    lines = {line.name: line for line in plotted.lines}
    assert lines["ce"].y.tolist() == [0.75, 0.5, 0.25]
    assert lines["ce"].x.tolist() == [1, 2, 3]
    assert lines["at"].y.tolist() == [0.625, 0.875]
    assert (lines["ce"].low[0], lines["ce"].high[0]) == wilson(30, 40)
    assert plotted.warnings == ["once, pgd: one run alone is not drawn"]
    assert {row["run"] for row in plotted.rows()} == {1, 2, 3}


def test_other_attacks_have_lines_of_their_own(nights):
    """Named after both."""
    runs = nights("ce", 30, 20)
    runs += nights("ce2", 9, 9, model="ce", attack="apgd", attack_params='["apgd:x"]')
    assert [line.name for line in over_time(runs).lines] == ["ce, pgd", "ce, apgd"]


def test_without_a_budget_it_is_the_median_distance(nights):
    """No rate, so no percents."""
    (line,) = over_time(nights("ce", 0, 0, eps=math.inf)).lines
    assert not line.rate
    assert 0 < line.y[0] < 0.3


def test_what_cannot_be_drawn(nights):
    """One threat model, two runs, no seeds."""
    with pytest.raises(UserError, match="no model here has two comparable runs"):
        over_time(nights("ce", 30))
    two = nights("ce", 30, 20)
    with pytest.raises(UserError, match="leave out --over-seeds"):
        over_time(two, over_seeds=True)
    with pytest.raises(UserError, match="choose with --where threat"):
        over_time([*two, *nights("at", 9, 9, eps=0.2)])
