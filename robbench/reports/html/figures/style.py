"""What all figures share: colours, dashes, symbols, layout and Plotly's settings.

The colours for text and lines are the page's, which knows whether it is dark (`page.js`). The
colours of data are Okabe and Ito's ("Color universal design", 2008), some darker, so that each has
enough contrast with white and black; dashes and symbols repeat what colours say.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go

from robbench.reports.levels import in_levels, level, level_ticks

COLOURS = ("#1a80bb", "#d55e00", "#009e73", "#cc79a7", "#a6790a", "#8766c1", "#808080", "#3a8fa8")
GREY = COLOURS[6]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")

CONFIG: Mapping[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}
"""Plotly's settings for every figure: nothing is sent anywhere, no logo, pictures are SVG."""


def layout(x: str, y: str) -> dict[str, Any]:
    """The layout of a figure with these titles of its axes."""
    return {
        "template": {},
        "colorway": list(COLOURS),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 12, "t": 34, "b": 12},
        "font": {"size": 13},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "xaxis": {"title": {"text": x}, "automargin": True, "zeroline": False},
        "yaxis": {"title": {"text": y}, "automargin": True, "zeroline": False},
        "modebar": {"bgcolor": "rgba(0,0,0,0)"},
    }


def figure(x: str, y: str) -> go.Figure:
    """An empty figure with these titles of its axes."""
    return go.Figure(layout=layout(x, y))


def budget_ticks(norm: str, budgets: Iterable[float], end: float) -> dict[str, Any]:
    """Settings of an axis of sizes up to `end`: ticks at k/255 where the budgets are such."""
    if not in_levels(norm, budgets) or 255 * end < 1:
        return {}
    ticks = level_ticks(end)
    return {"tickvals": [k / 255 for k in ticks], "ticktext": [level(k / 255) for k in ticks]}


def colour(place: int) -> str:
    """The colour of the model with this number."""
    return COLOURS[place % len(COLOURS)]


def dash(place: int, attack: int) -> str:
    """Another one for each attack, and for models that share a colour."""
    return DASHES[(attack + place // len(COLOURS)) % len(DASHES)]


def symbol(place: int) -> str:
    """The symbol of the model with this number."""
    return SYMBOLS[(place + place // len(COLOURS)) % len(SYMBOLS)]


def pale(colour: str, alpha: float) -> str:
    """A colour `#rrggbb`, this opaque."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def plain(name: str) -> str:
    """A name that Plotly, which reads some HTML in texts, shows as it is."""
    return html.escape(name, quote=False)


def percents(rates: Iterable[float]) -> list[float]:
    """Rates in [0,1] in percent, short enough to be stored."""
    return [round(100 * float(rate), 3) for rate in rates]
