"""Axes of runs over time."""

from __future__ import annotations

import dataclasses

from robbench.reports.figures.plot import draw


def test_runs_are_whole_numbers_and_rates_percents(numbers):
    """Distances keep their own unit."""
    plotted = numbers("history", [1, 2, 3], [0.9, 0.5, 0.4])
    (ax,) = draw(plotted).figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("run", "robust accuracy (%)")
    assert all(tick == int(tick) for tick in ax.get_xticks())
    sizes = [dataclasses.replace(line, rate=False) for line in plotted.lines]
    (ax,) = draw(dataclasses.replace(plotted, lines=sizes)).figure.axes
    assert ax.get_ylabel() == "median distance"
