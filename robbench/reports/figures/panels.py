"""Lines in panels that share their x axis, below a legend that covers none of them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from robbench.analysis.plots.lines import Line, Plotted
from robbench.core.escaping import one_line
from robbench.reports.figures.style import COLOURS, DASHES, SYMBOLS
from robbench.reports.terminal.fitted import shortened

LEGEND_ROW = 0.14
"""Height in inches."""
LONGEST_NAME = 44
WIDEST = 4.0
"""In inches: figures over two columns are not taller than this wide ones."""
_MOST_SYMBOLS = 12


def stacked(plotted: Plotted, width: float, ratio: float, *, symbols: bool) -> Figure:
    """A figure with a panel for each of the lines' panels, and a legend above.

    width: inches. ratio: height of a panel over its width, up to that of WIDEST. symbols: mark the
    points of short lines. Axes have no labels yet.
    """
    height = ratio * min(width, WIDEST)
    panels = list(dict.fromkeys(line.panel for line in plotted.lines))
    figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    handles: dict[str, Line2D] = {}
    for panel, ax in zip(panels, axes, strict=True):
        for line in plotted.lines:
            if line.panel == panel:
                handles.setdefault(line.name, _draw(ax, line, symbols))
    if len(handles) > 1 or plotted.over_seeds:
        legend = _legend(figure, handles)
        rows = -(-len(handles) // int(getattr(legend, "_ncols", 1)))
        figure.set_figheight(height * len(panels) + LEGEND_ROW * rows)
    return figure


def percent_axis(ax: Axes, label: str) -> None:
    """Rates in [0,1] as percents."""
    ax.set_ylim(-0.02, 1.02)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    ax.set_ylabel(f"{label} (%)")


def plain(name: str) -> str:
    """A name as it is, in one line, not as mathematics; a long one is cut in the middle."""
    return shortened(one_line(name), LONGEST_NAME).replace("$", r"\$")


def _draw(ax: Axes, line: Line, symbols: bool) -> Line2D:
    style = (line.dash + line.place) % len(DASHES)
    colour = COLOURS[line.place % len(COLOURS)]
    if np.isfinite(line.low).any():
        ax.fill_between(
            line.x,
            line.low,
            line.high,
            step="post" if line.steps else None,
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
    (drawn,) = ax.plot(
        line.x,
        line.y,
        color=colour,
        linestyle=DASHES[style],
        drawstyle="steps-post" if line.steps else "default",
        marker=SYMBOLS[line.place % len(SYMBOLS)]
        if (symbols and not line.steps and len(line.x) <= _MOST_SYMBOLS) or len(line.x) == 1
        else "",
        clip_on=line.steps,
        label=line.name,
    )
    return drawn


def _legend(figure: Figure, handles: dict[str, Line2D]) -> Legend:
    """Above the axes, in as many columns as fit."""
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            list(handles.values()),
            [plain(name) for name in handles],
            loc="outside upper left",
            ncols=columns,
        )
        needed = legend.get_window_extent().width
        if columns == 1 or needed <= 0.98 * figure.bbox.width:
            break
        legend.remove()
    return legend
