"""Ticks of the budget."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.plots.lines import Line, Plotted
from robbench.reports.figures.plot import draw


@pytest.mark.parametrize(
    ("norm", "budgets", "ticks"),
    [
        ("linf", [2, 4, 8], ["0", "2/255", "4/255", "6/255", "8/255"]),
        ("linf", [8], ["0", "2/255", "4/255", "6/255", "8/255"]),
        ("linf", [1, 16], ["0", "4/255", "8/255", "12/255", "16/255"]),
        ("linf", [0.15 * 255], None),
        ("l2", [255], None),
    ],
)
def test_budgets_of_linf_are_written_in_255ths(norm, budgets, ticks):
    """Where all of them are such; others are decimals."""
    x = np.array([0, *budgets]) / 255
    nothing = np.full(len(x), math.nan)
    line = Line("ce", x, np.linspace(1, 0, len(x)), nothing, nothing, 9)
    figure = draw(Plotted("curves", [line], "eps", "robust_accuracy", "About", norm=norm)).figure
    shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert shown == ticks if ticks else not any("/" in text for text in shown)
