"""The sections about margins against the other tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.distance_measures import measure_distances
from robbench.reports.html.data import ReportData
from robbench.reports.html.sections.margins import input_margins as margins_section


def test_the_page_has_the_median_distance_of_the_other_tables(add_run, handmade_rows):
    """Of an even number the mean of the two in the middle, as in `measure` and the run's row."""
    rows = handmade_rows(eps=math.inf)
    path, run = add_run("a" * 12, rows, eps=math.inf)
    (plot,) = margins_section(ReportData([run])).blocks
    sizes = sorted(np.float32(row["dist_linf"]) if row["clean_correct"] else 0.0 for row in rows)
    shown = plot.data.rows[0][2].key
    assert shown == pytest.approx((sizes[19] + sizes[20]) / 2, rel=1e-6)
    assert sizes[19] < shown < sizes[20]
    measures, _ = measure_distances(path, "test", [row["sample_id"] for row in rows])
    assert shown == next(m.value for m in measures if m.name == "input_margin_linf")
