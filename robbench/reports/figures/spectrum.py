"""The spectrum of the features."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import stacked


def spectrum(plotted: Plotted, width: float) -> Figure:
    """Singular values over the largest, falling, on a logarithmic axis."""
    figure = stacked(plotted, width, 0.62, symbols=True)
    (ax,) = figure.axes
    ax.set_yscale("log")
    ax.set_ylabel("singular value / largest")
    ax.set_xlabel("direction")
    ax.set_xlim(left=1)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    return figure
