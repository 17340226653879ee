"""The course of trainings."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import percent_axis, stacked


def training(plotted: Plotted, width: float) -> Figure:
    """A panel for each quantity over whole epochs."""
    figure = stacked(plotted, width, 0.36, symbols=True)
    panels = dict.fromkeys(line.panel for line in plotted.lines)
    for ax, panel in zip(figure.axes, panels, strict=True):
        if panel.endswith("accuracy"):
            percent_axis(ax, panel.replace(" accuracy", " acc."))
        else:
            ax.set_ylabel(panel)
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    figure.axes[-1].set_xlabel("epoch")
    figure.align_ylabels()
    return figure
