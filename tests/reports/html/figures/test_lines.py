"""Ticks that can be read, and numbers that are those of the lines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.plots.lines import Line
from robbench.reports.html.figures.lines import security_curves, training


def _line(x, low=0.1):
    y = np.linspace(0.9, 0.2, len(x))
    return Line("ce", np.array(x), y, y - low, y + low, 10)


@pytest.mark.parametrize(
    ("norm", "x", "ticks"),
    [
        ("linf", [0, 8 / 255, 16 / 255], ("0", "4/255", "8/255", "12/255", "16/255")),
        ("linf", [0, 0.15], None),
        ("l2", [0, 0.5], None),
    ],
)
def test_linf_budgets_have_ticks_at_255ths(norm, x, ticks):
    """Where all budgets are such; else decimals."""
    figure = security_curves([_line(x)], norm)
    assert figure.layout.xaxis.ticktext == ticks
    assert figure.data[-1].y == pytest.approx([100 * rate for rate in _line(x).y])


def test_a_mean_of_one_seed_has_no_band():
    """Bands are two more traces, which are left out where they are not known."""
    assert len(security_curves([_line([0, 0.5])], "l2").data) == 3
    assert len(security_curves([_line([0, 0.5], math.nan)], "l2").data) == 1


@pytest.mark.parametrize("last", [1, 2, 8, 20, 30, 199, 100_000])
def test_epochs_have_whole_ticks(last):
    """At most eleven steps, each a whole number of epochs."""
    epochs = list(range(1, last + 1)) if last < 1000 else [1, last]
    figure = training([("ce", 0, "solid", epochs, [0.5] * len(epochs))], "loss")
    step = figure.layout.xaxis.dtick
    assert step == int(step) >= 1
    assert last / step <= 11
