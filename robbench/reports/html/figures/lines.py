"""Lines: security curves, training, singular values, runs over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from robbench.analysis.history import DISTANCE, History
from robbench.analysis.plots.lines import Line
from robbench.analysis.plots.spectrum import FLOOR
from robbench.core.corruptions import budget_of, is_corruption
from robbench.reports.html.figures import style
from robbench.reports.levels import in_levels, level
from robbench.reports.texts import bounds, digits

_MOST_DATES = 8
_EPOCH_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def security_curves(lines: Sequence[Line], norm: str) -> go.Figure:
    """Robust accuracy over eps, or the severity of a corruption, with bands."""
    corrupted = is_corruption(norm)
    axis = budget_of(norm) if corrupted else f"eps ({norm})"
    drawn = style.figure(axis, "robust accuracy (%)")
    budgets = [float(eps) for line in lines if not line.steps for eps in line.x]
    levels = in_levels(norm, budgets)
    for line in lines:
        colour, shape = style.colour(line.place), "hv" if line.steps else "linear"
        x = line.x.tolist()
        if banded := bool(np.isfinite(line.low).all()):
            band = {
                "x": x,
                "mode": "lines",
                "hoverinfo": "skip",
                "legendgroup": line.name,
                "showlegend": False,
                "line": {"width": 0, "shape": shape, "color": colour},
            }
            pale = style.pale(colour, 0.16)
            drawn.add_scatter(y=style.percents(line.high), **band)
            drawn.add_scatter(y=style.percents(line.low), fill="tonexty", fillcolor=pale, **band)
        drawn.add_scatter(
            x=x,
            y=style.percents(line.y),
            name=style.plain(line.name),
            legendgroup=line.name,
            mode="lines" if line.steps else "lines+markers",
            line={"color": colour, "shape": shape, "dash": style.dash(line.place, line.dash)},
            marker={"symbol": style.symbol(line.place), "size": 8},
            customdata=[
                [level(eps) if levels else digits(eps, 4), bounds(low, high)]
                for eps, low, high in zip(x, line.low, line.high, strict=True)
            ],
            hovertemplate=("severity" if corrupted else "eps")
            + " %{customdata[0]}: %{y:.1f} %"
            + (" (%{customdata[1]})" if banded else ""),
        )
    end = max(float(line.x[-1]) for line in lines)
    drawn.update_xaxes(rangemode="tozero", **style.budget_ticks(norm, budgets, end))
    return drawn.update_yaxes(range=[-2, 102]).update_layout(hovermode="x unified")


def training(
    lines: Sequence[tuple[str, int, str, Sequence[int], Sequence[float]]], what: str
) -> go.Figure:
    """Curves over the epochs: (model, place, dash, epochs, values).

    Where dashes differ, the line's name says what it is.
    """
    drawn = style.figure("epoch", what)
    for name, place, dash, epochs, values in lines:
        drawn.add_scatter(
            x=list(epochs),
            y=list(values),
            name=style.plain(name),
            mode="lines+markers" if len(epochs) < 3 else "lines",
            connectgaps=True,
            line={"color": style.colour(place), "dash": dash},
            hovertemplate="%{y:.4g}",
        )
    found = [epoch for *_, epochs, _ in lines for epoch in epochs]
    last = max(found) - min(found)
    step = next((step for step in _EPOCH_STEPS if last <= 10 * step), last)
    drawn.update_xaxes(dtick=step, tick0=0)
    return drawn.update_layout(hovermode="x unified")


def spectra(lines: Sequence[tuple[str, int, Sequence[float]]]) -> go.Figure:
    """Singular values over the largest, falling, on a logarithmic axis, down to rounding."""
    drawn = style.figure("direction", "singular value / largest")
    for name, place, values in lines:
        drawn.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=[value if value > FLOOR else None for value in values],
            name=style.plain(name),
            mode="lines+markers",
            line={"color": style.colour(place)},
            marker={"symbol": style.symbol(place), "size": 5},
            hovertemplate="direction %{x}: %{y:.3g}",
        )
    return drawn.update_yaxes(type="log", exponentformat="power", dtick=1)


def over_time(found: History, dates: Sequence[str], what: str, place: int) -> go.Figure:
    """A measure from run to run with its intervals; a dotted line before each change point."""
    scale, unit = (1.0, "") if found.measure == DISTANCE else (100.0, " %")
    drawn = style.figure("run", f"{what}{f' ({unit.strip()})' if unit else ''}")
    x = list(range(1, len(found.steps) + 1))
    y, low, high = (
        [scale * getattr(step, name) for step in found.steps] for name in ("value", "low", "high")
    )
    known = [y[i] if math.isfinite(y[i]) else None for i in range(len(y))]
    drawn.add_scatter(
        x=x,
        y=known,
        name=style.plain(str(found.info["model"])),
        mode="lines+markers",
        line={"color": style.colour(place)},
        marker={"symbol": style.symbol(place), "size": 8},
        error_y={
            "type": "data",
            "array": _finite([b - a for a, b in zip(y, high, strict=True)]),
            "arrayminus": _finite([a - b for a, b in zip(y, low, strict=True)]),
            "color": style.pale(style.colour(place), 0.5),
        },
        customdata=[[style.plain(date)] for date in dates],
        hovertemplate=f"%{{customdata[0]}}: %{{y:.4g}}{unit}<extra></extra>",
    )
    for shift in found.shifts:
        drawn.add_vline(x=shift.run + 0.5, line={"dash": "dot", "color": style.GREY})
    step = -(-len(x) // _MOST_DATES)
    return drawn.update_xaxes(tickvals=x[::step], ticktext=[date[:10] for date in dates[::step]])


def _finite(sizes: Sequence[float]) -> list[float | None]:
    return [size if math.isfinite(size) else None for size in sizes]
