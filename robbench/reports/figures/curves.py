"""The security curve: robust accuracy against the budget."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from robbench.analysis.plots.lines import Plotted
from robbench.reports.figures.panels import percent_axis, stacked

_NORMS = {"linf": r"\ell_\infty", "l2": r"\ell_2", "l1": r"\ell_1", "l0": r"\ell_0"}
_STEPS = (1, 2, 4, 8, 16, 32, 64)


def curves(plotted: Plotted, width: float) -> Figure:
    """Robust accuracy over eps; of linf budgets k/255 the ticks are such fractions."""
    figure = stacked(plotted, width, 0.62, symbols=True)
    (ax,) = figure.axes
    percent_axis(ax, "robust accuracy")
    ax.set_xlabel(rf"budget $\varepsilon$ (${_NORMS[plotted.norm]}$)")
    end = max(float(line.x[-1]) for line in plotted.lines)
    ax.set_xlim(0, end or 1)
    budgets = sorted({float(x) for line in plotted.lines if not line.steps for x in line.x})
    ax.set_xticks(budgets, minor=True)
    if plotted.norm == "linf" and end <= 1 and all(map(_is_level, budgets)):
        ticks = _levels(int(255 * end + 1e-4))
        ax.set_xticks([k / 255 for k in ticks], [f"{k}/255" if k else "0" for k in ticks])
    return figure


def _is_level(eps: float) -> bool:
    return math.isclose(255 * eps, round(255 * eps), abs_tol=1e-4)


def _levels(last: int) -> list[int]:
    """At most seven multiples of a power of two, from 0 to `last`."""
    step = next(step for step in _STEPS if last <= 6 * step)
    return list(range(0, last + 1, step))
