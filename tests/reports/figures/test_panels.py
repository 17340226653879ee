"""Panels as seen: a legend that covers nothing, names that fit, colours that differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from robbench.analysis.plots.lines import MOST_LINES, Line, Plotted
from robbench.reports.figures.plot import DRAW, draw
from robbench.reports.figures.style import COLOURS, DASHES, SYMBOLS

PANELS = {
    "curves": [""],
    "cost": [""],
    "history": [""],
    "spectrum": [""],
    "margins": ["clean", "worst"],
    "training": ["clean accuracy", "robust accuracy", "training loss"],
}


def plotted(kind, n, name="model-{}"):
    """So many lines in each panel, falling from 1."""
    x, nothing = np.array([1.0, 2.0, 4.0]), np.full(3, math.nan)
    lines = [
        Line(name.format(i), x, np.array([1, 0.5, 0.1]) / (i + 1), nothing, nothing, 9, panel, i)
        for panel in PANELS[kind]
        for i in range(n)
    ]
    return Plotted(kind, lines, "x", "y", "About", norm="l2")


@pytest.mark.few(5)
@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize("name", ["{}", "a-model-with-quite-a-long-name-as-people-have-them-{}"])
def test_nothing_is_covered_or_cut(kind, name):
    """Legend, labels and axes lie inside of the figure, and the legend above all axes."""
    figure = draw(plotted(kind, MOST_LINES, name)).figure
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    whole = figure.bbox.padded(0.5)
    for ax in figure.axes:
        assert ax.get_window_extent().y1 <= box.y0
        assert ax.get_window_extent().height > 0.55 * figure.dpi, "room for the lines"
        tight = ax.get_tightbbox()
        assert whole.contains(tight.x0, tight.y0)
        assert whole.contains(tight.x1, tight.y1)
    assert whole.contains(box.x0, box.y0)
    assert whole.contains(box.x1, box.y1)


@pytest.mark.parametrize("kind", DRAW)
def test_every_line_differs_in_colour_and_dash(kind):
    """As many as are allowed, also in grey; a model looks alike in all panels."""
    figure = draw(plotted(kind, MOST_LINES)).figure
    looks = {}
    for ax in figure.axes:
        for line in ax.get_lines():
            if line.get_label().startswith("model"):
                look = (to_hex(line.get_color()), str(line._dash_pattern))
                looks.setdefault(line.get_label(), set()).add(look)
    assert {len(each) for each in looks.values()} == {1}
    colours, dashes = zip(*(next(iter(each)) for each in looks.values()), strict=True)
    assert len(set(colours)) == len(set(dashes)) == MOST_LINES


def test_there_are_as_many_looks_as_lines():
    """Colours, dashes and symbols."""
    assert {len(set(map(str, each))) for each in (COLOURS, DASHES, SYMBOLS)} == {MOST_LINES}


def test_one_line_needs_no_legend():
    """The caption names it."""
    assert draw(plotted("curves", 1)).figure.legends == []


@pytest.mark.parametrize("kind", DRAW)
def test_the_width_is_as_asked(kind):
    """In inches, for any number of lines; over two columns it is wider than tall."""
    figure = draw(plotted(kind, 3), 6.75).figure
    assert figure.get_figwidth() == 6.75
    assert figure.get_figheight() < 6.75
    assert draw(plotted(kind, 1)).figure.get_figwidth() == 3.25
