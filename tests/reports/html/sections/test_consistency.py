"""The table beside input margins has the numbers of the measures, or the reasons."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from robbench.analysis.distance_measures import measure_distances
from robbench.analysis.plots.spectrum import COLUMNS
from robbench.reports.html.data import ReportData
from robbench.reports.html.sections.consistency import beside_input_margins
from robbench.reports.html.sections.margins import input_margins
from robbench.store.locations import sibling_table
from robbench.store.measured import write_measures
from robbench.store.tables import read_sibling


@pytest.fixture
def measured(add_run, handmade_rows):
    """A run without a budget, beside another, and its measures as the report reads them."""
    draw = np.random.default_rng(0)
    rows = handmade_rows(eps=math.inf)
    for row in rows:
        row["dist_linf"] = float(draw.uniform(0.1, 1)) if row["clean_correct"] else 0.0
    path, run = add_run("a" * 12, rows, eps=math.inf)
    add_run("b" * 12, rows, eps=math.inf)
    write_measures(path, measure_distances(path, "test", [row["sample_id"] for row in rows])[0])
    found = read_sibling(sibling_table(path, "measures"), "measures", COLUMNS)
    return run, found


def test_every_number_with_what_it_is_of(measured) -> None:
    """Value, interval and samples; the reason where there is no value."""
    run, rows = measured
    values = {row["name"]: row for row in rows}
    table = beside_input_margins(ReportData([run], measures={run.info["run_id"]: rows}))
    ((model, tau, auroc, fpr, optimality),) = table.rows
    assert "linf" in model.small
    assert tau.key == values["margin_consistency_linf"]["value"]
    assert f"{json.loads(values['margin_consistency_linf']['detail'])['used']} samples" in tau.small
    assert (auroc.text, auroc.key, fpr.text) == ("-", None, "-")
    assert "budget" in auroc.small
    assert optimality.key == pytest.approx(1)
    assert "1 other run" in optimality.small
    section = input_margins(ReportData([run], measures={run.info["run_id"]: rows}))
    assert table in section.blocks


def test_no_table_without_measures(measured) -> None:
    """Nor of measures that an earlier version made."""
    run, rows = measured
    old = [row for row in rows if row["name"].startswith("input_margin")]
    for found in ({}, {run.info["run_id"]: old}):
        assert beside_input_margins(ReportData([run], measures=found)) is None
