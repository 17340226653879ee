"""The security curve: robust accuracy against the budget."""

from __future__ import annotations

from matplotlib.figure import Figure

from robbench.analysis.plots.lines import Plotted
from robbench.core.corruptions import budget_of, is_corruption
from robbench.reports.figures.panels import percent_axis, stacked
from robbench.reports.levels import in_levels, level, level_ticks

_NORMS = {
    "linf": r"\ell_\infty",
    "l2": r"\ell_2",
    "l1": r"\ell_1",
    "l0": r"\ell_0",
    "l0px": r"\ell_0^{px}",
}


def curves(plotted: Plotted, width: float) -> Figure:
    """Robust accuracy over eps; of linf budgets k/255 the ticks are such fractions."""
    figure = stacked(plotted, width, 0.62, symbols=True)
    (ax,) = figure.axes
    percent_axis(ax, "robust accuracy")
    if is_corruption(plotted.norm):
        ax.set_xlabel(budget_of(plotted.norm))
    else:
        ax.set_xlabel(rf"budget $\varepsilon$ (${_NORMS[plotted.norm]}$)")
    end = max(float(line.x[-1]) for line in plotted.lines)
    ax.set_xlim(0, end or 1)
    budgets = sorted({float(x) for line in plotted.lines if not line.steps for x in line.x})
    ax.set_xticks(budgets, minor=True)
    if end <= 1 and in_levels(plotted.norm, budgets):
        ticks = [k / 255 for k in level_ticks(end)]
        ax.set_xticks(ticks, [level(eps) for eps in ticks])
    return figure
