"""Plotly figures.

Their colours for text and lines are the page's, which knows whether it is dark (`page.js`).

The colours of data are Okabe and Ito's ("Color universal design", 2008), some darker, so that each
stands out against white and black; dashes and symbols repeat what colours say.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from robbench.analysis.figure_data import Curve, Margins, edges, shares
from robbench.analysis.plots.spectrum import FLOOR
from robbench.analysis.series import Floats, Series

COLOURS = ("#1a80bb", "#d55e00", "#009e73", "#cc79a7", "#a6790a", "#8766c1", "#808080", "#3a8fa8")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
MOST_LINES = 8  # histograms over each other; more are shown on demand

CONFIG: Mapping[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
"""Plotly's settings for every figure of a report: no uploads, no logo."""


def security_curves(lines: Sequence[tuple[Series, Curve]], norm: str) -> go.Figure:
    """Robust accuracy over eps with bands of the 95 % interval."""
    figure = _figure(f"eps ({norm})", "robust accuracy (%)")
    for series, curve in lines:
        colour, shape = _colour(series.place), "hv" if curve.steps else "linear"
        band = {
            "x": curve.eps,
            "mode": "lines",
            "hoverinfo": "skip",
            "legendgroup": series.name,
            "showlegend": False,
        }
        band["line"] = {"width": 0, "shape": shape, "color": colour}
        figure.add_scatter(y=_percents(curve.high), **band)
        figure.add_scatter(
            y=_percents(curve.low), fill="tonexty", fillcolor=_pale(colour, 0.16), **band
        )
        figure.add_scatter(
            x=curve.eps,
            y=_percents(curve.rate),
            name=_plain(series.name),
            legendgroup=series.name,
            mode="lines" if curve.steps else "lines+markers",
            line={
                "color": colour,
                "shape": shape,
                "dash": _dash(series.place, series.attack_place),
            },
            marker={"symbol": _symbol(series.place), "size": 8},
            customdata=list(zip(_percents(curve.low), _percents(curve.high), strict=True)),
            hovertemplate="eps %{x:.4g}: %{y:.1f} % (%{customdata[0]:.1f}-%{customdata[1]:.1f})",
        )
    figure.update_yaxes(range=[-2, 102]).update_xaxes(rangemode="tozero")
    return figure.update_layout(hovermode="x unified")


def logit_margins(values: Sequence[tuple[Series, Floats, Floats]]) -> go.Figure:
    """Histograms of clean and worst logit margins [n] of each line, stacked, on one axis.

    Logit scales differ from model to model: each line has bins of its own width, as many as every
    other.
    """
    figure = _figure("logit margin", "")
    for i, (series, *both) in enumerate(values):
        style, ends = (series.name, series.place, series.attack_place), edges(both)
        for margins, axis in zip(both, ("y", "y2"), strict=True):
            _histogram(figure, style, ends, margins, axis, legend=axis == "y", shown=i < MOST_LINES)
    ends = edges([margins for _, *both in values[:MOST_LINES] for margins in both])
    figure.update_layout(
        yaxis={"domain": [0.55, 1.0], "title": {"text": "clean (%)"}},
        yaxis2={
            "domain": [0.0, 0.45],
            "title": {"text": "worst (%)"},
            "anchor": "x",
            "rangemode": "tozero",
            "automargin": True,
        },
        xaxis={"anchor": "y2", "range": [float(ends[0]), float(ends[-1])]},
        hovermode="closest",
    )
    return figure.add_vline(x=0, line={"width": 1.5, "dash": "dot", "color": "#808080"})


def input_margins(found: Sequence[Margins], norm: str) -> go.Figure:
    """Histograms of the smallest perturbations.

    An open triangle on the right is the share for which none was found.
    """
    figure = _figure(f"smallest perturbation found ({norm})", "samples (%)")
    ends = edges([one.smallest for one in found], low=0.0)
    for i, one in enumerate(found):
        shown = i < MOST_LINES
        _histogram(
            figure, (one.name, one.place, 0), ends, one.smallest, "y", legend=True, shown=shown
        )
        if one.censored:
            end = ends[-1] if math.isinf(one.end) else one.end
            figure.add_scatter(
                x=[float(max(end, ends[-1])) + 0.04 * float(ends[-1] - ends[0])],
                y=[100 * one.censored],
                mode="markers",
                marker={
                    "symbol": "triangle-right-open",
                    "size": 13,
                    "color": _colour(one.place),
                    "line": {"width": 2.5},
                },
                name=_plain(one.name),
                legendgroup=one.name,
                showlegend=False,
                visible=shown or "legendonly",
                hovertemplate="none found"
                + ("" if math.isinf(one.end) else f" up to {one.end:.4g}")
                + ": %{y:.1f} % of the samples",
            )
    return figure.update_layout(hovermode="closest")


def heat_map(
    names: Sequence[str], classes: Sequence[str], rates: Sequence[Sequence[float]]
) -> go.Figure:
    """Rates [runs, classes] in [0,1] as percents.

    Cividis reads the same to colour-blind eyes and in grey.
    """
    cells = [[None if math.isnan(rate) else 100 * rate for rate in row] for row in rates]
    figure = _figure("class", "")
    figure.add_heatmap(
        z=cells,
        x=[_plain(name) for name in classes],
        y=[_plain(name) for name in names],
        colorscale="Cividis",
        zmin=0,
        zmax=100,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        texttemplate="%{z:.0f}" if len(classes) <= 20 else None,
        colorbar={"title": {"text": "%"}, "thickness": 12},
        hovertemplate="%{y}<br>class %{x}: %{z:.1f} %<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    return figure.update_xaxes(type="category", showgrid=False)


def costs(names: Sequence[str], forwards: Sequence[float], backwards: Sequence[float]) -> go.Figure:
    """Forwards and backwards per sample of each run, stacked."""
    figure = _figure("queries per sample", "")
    for what, values, colour, pattern in (
        ("forwards", forwards, 0, ""),
        ("backwards", backwards, 1, "/"),
    ):
        figure.add_bar(
            x=list(values),
            y=[_plain(name) for name in names],
            name=what,
            orientation="h",
            marker={
                "color": _colour(colour),
                "pattern": {"shape": pattern, "fillmode": "replace", "size": 7, "solidity": 0.5},
            },
            hovertemplate="%{x:,.1f} " + what,
        )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    return figure.update_layout(barmode="stack", hovermode="closest")


def training(
    lines: Sequence[tuple[str, int, str, Sequence[int], Sequence[float | None]]], what: str
) -> go.Figure:
    """Curves over the epochs: (model, place, dash, epochs, values).

    Where dashes differ, the line's name says what it is.
    """
    figure = _figure("epoch", what)
    for name, place, dash, epochs, values in lines:
        figure.add_scatter(
            x=list(epochs),
            y=list(values),
            name=_plain(name),
            mode="lines+markers" if len(epochs) < 3 else "lines",
            connectgaps=True,
            line={"color": _colour(place), "dash": dash},
            hovertemplate="%{y:.4g}",
        )
    return figure.update_layout(hovermode="x unified")


def spectra(lines: Sequence[tuple[str, int, Sequence[float]]]) -> go.Figure:
    """Singular values of the features over the largest, log scale, without those of rounding."""
    figure = _figure("direction", "singular value / largest")
    for name, place, values in lines:
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=[value if value > FLOOR else None for value in values],
            name=_plain(name),
            mode="lines+markers",
            line={"color": _colour(place)},
            marker={"symbol": _symbol(place), "size": 5},
            hovertemplate="direction %{x}: %{y:.3g}",
        )
    return figure.update_yaxes(type="log", exponentformat="power", dtick=1)


def _histogram(
    figure: go.Figure,
    style: tuple[str, int, int],
    ends: Floats,
    values: Floats,
    axis: str,
    *,
    legend: bool,
    shown: bool,
) -> None:
    """A stepped outline, readable where several overlap. style: name, place, attack."""
    (name, place, attack), rates = style, shares(values, ends)
    figure.add_scatter(
        x=ends.tolist(),
        y=_percents([*rates, rates[-1]]),
        yaxis=axis,
        name=_plain(name),
        legendgroup=name,
        showlegend=legend,
        visible=shown or "legendonly",
        mode="lines",
        fill="tozeroy",
        fillcolor=_pale(_colour(place), 0.14),
        line={"shape": "hv", "color": _colour(place), "width": 1.8, "dash": _dash(place, attack)},
        hovertemplate="from %{x:.3g}: %{y:.1f} %",
    )


def _figure(x: str, y: str) -> go.Figure:
    return go.Figure(
        layout={
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
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _dash(place: int, attack: int) -> str:
    """Another one for each attack, and for models that share a colour."""
    return DASHES[(attack + place // len(COLOURS)) % len(DASHES)]


def _symbol(place: int) -> str:
    return SYMBOLS[(place + place // len(COLOURS)) % len(SYMBOLS)]


def _pale(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _plain(name: str) -> str:
    """A name that Plotly, which reads some HTML in texts, shows as it is."""
    return html.escape(name, quote=False)


def _percents(rates: Sequence[float]) -> list[float]:
    return [round(100 * rate, 3) for rate in rates]
