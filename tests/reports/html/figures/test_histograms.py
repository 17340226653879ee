"""Small multiples: a panel for each model, all samples in it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from robbench.analysis.figure_data import Margins
from robbench.analysis.series import Series
from robbench.reports.html.figures.histograms import height, input_margins, logit_margins


def _axes(figure):
    return [name for name in figure.layout if name.startswith("yaxis") and figure.layout[name]]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_line_has_a_panel_with_both_histograms(n):
    """Heights sum to all samples in each; no panel lies over another."""
    rng = np.random.default_rng(0)
    values = [
        (Series(f"m{i}", f"m{i}", i, 0, ()), rng.normal(4, 2, 200), rng.normal(1, 2, 200))
        for i in range(n)
    ]
    figure = logit_margins(values)
    drawn = [trace for trace in figure.data if trace.x[0] is not None]
    assert len(drawn) == 2 * n
    for trace in drawn:
        assert sum(trace.y[:-1]) == pytest.approx(100, abs=0.1)
    domains = sorted(tuple(figure.layout[name].domain) for name in _axes(figure))
    assert len(domains) == n
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(domains))
    assert height(n + 1) > height(n)


def test_a_title_counts_those_without_a_perturbation():
    """In 255ths where the budgets are such; the axis has ticks up to the largest budget."""
    smallest = np.array([0.0, 4 / 255, 8 / 255, math.inf])
    found = [Margins(name, i, smallest, 0.25, 0.0, 8 / 255, False) for i, name in enumerate("ab")]
    figure = input_margins(found, "linf")
    titles = [note.text for note in figure.layout.annotations]
    assert titles == [f"{name}: none found for 25.0 % up to 8/255" for name in "ab"]
    assert figure.layout.xaxis.ticktext[-1] == "8/255"
    assert [sum(trace.y[:-1]) for trace in figure.data] == pytest.approx([75, 75])
