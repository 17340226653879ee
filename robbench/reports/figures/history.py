"""Runs over time."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import percent_axis, stacked


def history(plotted: Plotted, width: float) -> Figure:
    """A measure from run to run."""
    figure = stacked(plotted, width, 0.62, symbols=True)
    (ax,) = figure.axes
    if plotted.lines[0].rate:
        percent_axis(ax, "robust accuracy")
    else:
        ax.set_ylabel("median distance")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    ax.set_xlabel("run")
    return figure
