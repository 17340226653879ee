"""Accuracy by class as a heat map, and costs as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from robbench.reports.html.figures.style import colour, figure, plain


def heat_map(
    names: Sequence[str], classes: Sequence[str], rates: Sequence[Sequence[float]]
) -> go.Figure:
    """Rates [runs, classes] in [0,1] as percents.

    Cividis reads the same to colour-blind eyes and in grey.
    """
    cells = [[None if math.isnan(rate) else 100 * rate for rate in row] for row in rates]
    drawn = figure("class", "")
    drawn.add_heatmap(
        z=cells,
        x=[plain(name) for name in classes],
        y=[plain(name) for name in names],
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
    drawn.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    return drawn.update_xaxes(type="category", showgrid=False)


def costs(names: Sequence[str], forwards: Sequence[float], backwards: Sequence[float]) -> go.Figure:
    """Forwards and backwards per sample of each run, stacked."""
    drawn = figure("queries per sample", "")
    for what, values, place, pattern in (
        ("forwards", forwards, 0, ""),
        ("backwards", backwards, 1, "/"),
    ):
        drawn.add_bar(
            x=list(values),
            y=[plain(name) for name in names],
            name=what,
            orientation="h",
            marker={
                "color": colour(place),
                "pattern": {"shape": pattern, "fillmode": "replace", "size": 7, "solidity": 0.5},
            },
            hovertemplate="%{x:,.1f} " + what,
        )
    drawn.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    return drawn.update_layout(barmode="stack", hovermode="closest")
