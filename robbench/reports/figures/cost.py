"""What attacks spend."""

from __future__ import annotations

from matplotlib.figure import Figure

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import percent_axis, stacked


def cost(plotted: Plotted, width: float) -> Figure:
    """Robust accuracy left over queries per sample, on a logarithmic axis."""
    figure = stacked(plotted, width, 0.62, symbols=False)
    (ax,) = figure.axes
    percent_axis(ax, "robust accuracy")
    ax.set_xscale("log")
    ax.set_xlabel("queries per sample (forward + backward)")
    ax.set_xlim(1, max(2.0, *(float(line.x[-1]) for line in plotted.lines)))
    return figure
