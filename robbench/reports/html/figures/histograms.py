"""Histograms as small multiples: a panel for each line, below each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from robbench.analysis.figure_data import Margins, edges, shares
from robbench.analysis.series import Floats, Series
from robbench.reports.html.figures import style
from robbench.reports.levels import in_levels, level
from robbench.reports.texts import digits, points

BINS = 40
_PANEL, _GAP, _ENDS = 82, 60, 96
"""Heights in pixels: of a panel, between two, of axis and legend together."""


def height(n: int) -> int:
    """Pixels of a figure of so many panels."""
    return n * _PANEL + (n - 1) * _GAP + _ENDS


def logit_margins(values: Sequence[tuple[Series, Floats, Floats]]) -> go.Figure:
    """Clean and worst logit margins [n] of each line, in one panel over each other.

    Logit scales differ from model to model: each panel has an axis of its own.
    """
    titles = [
        f"{series.name}: median {_median(clean)} clean, {_median(worst)} worst"
        for series, clean, worst in values
    ]
    drawn = _panels(titles, "logit margin", shared=False)
    for row, (series, clean, worst) in enumerate(values, start=1):
        ends = edges([clean, worst], BINS)
        colour = style.colour(series.place)
        _histogram(drawn, row, ends, worst, "worst", colour, filled=True)
        _histogram(drawn, row, ends, clean, "clean", style.GREY, filled=False)
        drawn.add_vline(
            x=0, row=row, col=1, line={"width": 1.5, "dash": "dot", "color": style.GREY}
        )
    for what, filled in (("clean", False), ("worst found (filled)", True)):
        drawn.add_scatter(
            x=[None],
            y=[None],
            name=what,
            mode="lines",
            line={"color": style.GREY, "width": 1.8},
            fill="tozeroy" if filled else None,
            fillcolor=style.pale(style.GREY, 0.35),
        )
    return drawn


def input_margins(found: Sequence[Margins], norm: str) -> go.Figure:
    """The smallest perturbations of each model; the panel's title says for how many is none."""
    ends = edges([one.smallest for one in found], low=0.0)
    reached = [one.end for one in found if math.isfinite(one.end)]
    levels = in_levels(norm, reached)
    titles = [f"{one.name}: {_none_found(one, levels)}" for one in found]
    drawn = _panels(titles, f"smallest perturbation found ({norm})", shared=True)
    for row, one in enumerate(found, start=1):
        colour = style.colour(one.place)
        _histogram(drawn, row, ends, one.smallest, one.name, colour, filled=True)
    ticks = style.budget_ticks(norm, reached, max(reached, default=float(ends[-1])))
    return drawn.update_xaxes(**ticks).update_layout(showlegend=False)


def _none_found(one: Margins, levels: bool) -> str:
    if not one.censored:
        return "found for all"
    share = f"none found for {points(one.censored)} %"
    if math.isinf(one.end):
        return share
    return f"{share} up to {level(one.end) if levels else digits(one.end, 4)}"


def _panels(titles: Sequence[str], x: str, *, shared: bool) -> go.Figure:
    n = len(titles)
    inner = height(n) - _ENDS
    drawn = make_subplots(
        rows=n,
        cols=1,
        shared_xaxes=shared,
        vertical_spacing=_GAP / inner if n > 1 else 0,
        subplot_titles=[style.plain(title) for title in titles],
    )
    given = style.layout(x, "")
    drawn.update_layout(
        {key: value for key, value in given.items() if key not in ("xaxis", "yaxis")}
        | {"margin": {"l": 12, "r": 12, "t": 52, "b": 12}, "hovermode": "closest"}
    )
    # The legend is above the title of the first panel, whatever their number.
    drawn.update_layout(legend={"y": 1 + 24 / inner})
    drawn.update_annotations(x=0, xanchor="left", font={"size": 13})
    drawn.update_xaxes(automargin=True, zeroline=False, showticklabels=True)
    drawn.update_yaxes(automargin=True, zeroline=False, rangemode="tozero", ticksuffix=" %")
    drawn.update_xaxes(title_text=x, row=n, col=1)
    return drawn


def _histogram(
    drawn: go.Figure,
    row: int,
    ends: Floats,
    values: Floats,
    name: str,
    colour: str,
    *,
    filled: bool,
) -> None:
    """An outline with steps at the bin edges, so that two over each other stay readable."""
    rates = shares(values, ends)
    drawn.add_scatter(
        x=ends.tolist(),
        y=style.percents([*rates, rates[-1]]),
        name=style.plain(name),
        showlegend=False,
        mode="lines",
        fill="tozeroy" if filled else None,
        fillcolor=style.pale(colour, 0.35),
        line={"shape": "hv", "color": colour, "width": 1.8},
        hovertemplate="from %{x:.3g}: %{y:.1f} %",
        row=row,
        col=1,
    )


def _median(margins: Floats) -> str:
    finite = margins[np.isfinite(margins)]
    return digits(float(np.median(finite))) if len(finite) else "unknown"
