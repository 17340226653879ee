"""Distributions of logit margins."""

from __future__ import annotations

from matplotlib.figure import Figure

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import percent_axis, stacked

_WHERE = {"clean": "clean inputs", "worst": "worst points"}


def margins(plotted: Plotted, width: float) -> Figure:
    """The share of samples with a smaller logit margin, clean above worst; errors end at 0."""
    figure = stacked(plotted, width, 0.42, symbols=False)
    for ax, panel in zip(
        figure.axes, dict.fromkeys(line.panel for line in plotted.lines), strict=True
    ):
        percent_axis(ax, _WHERE[panel])
        ax.axvline(0, color="#404040", linewidth=0.6)
        ax.margins(x=0)
    figure.axes[-1].set_xlabel("logit margin, at most")
    return figure
