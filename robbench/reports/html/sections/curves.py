"""The section about security curves."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from robbench.analysis.plots.curves import curve_lines
from robbench.analysis.plots.curves import security_curves as plotted
from robbench.analysis.plots.lines import Line, mean_over_seeds
from robbench.analysis.seeds import recipe
from robbench.analysis.series import facts
from robbench.core.corruptions import budget_of, is_corruption
from robbench.core.norms import COUNTS
from robbench.core.threat_text import split_threat
from robbench.reports.html.captions import ONE_BUDGET, SPREAD, WILSON
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import lines as figures
from robbench.reports.html.page import (
    Cell,
    Head,
    Notes,
    Plot,
    Section,
    Table,
    in_words,
    percent,
)
from robbench.reports.levels import in_levels, level
from robbench.reports.texts import bounds, digits, points
from robbench.store.run import Run

_POINTS = 11
"""So many points of a curve of steps are in its table."""


def security_curves(material: ReportData) -> Section:
    """Robust accuracy over the budget, a figure for each data set, split and norm."""
    blocks: list[Any] = []
    band = "one standard deviation" if material.over_seeds else "95 % interval"
    for (data, split, ball), lines in _lines(material).items():
        norm = ball.partition(" ")[0]
        levels = in_levels(norm, [float(x) for line in lines if not line.steps for x in line.x])
        rows = [row for line in lines for row in _rows(line, levels)]
        size = Head("severity" if is_corruption(norm) else "eps")
        heads = [Head("model", number=False), size, Head("robust accuracy"), Head(band)]
        against = f"Robust accuracy on {data} {split} against the {budget_of(ball)}"
        table = Table(against, heads, rows)
        words = in_words([f"{line.name}: {_in_words(line, levels)}" for line in lines])
        alt = f"Line chart of robust accuracy over the {budget_of(ball)}. {words}."
        figure = figures.security_curves(lines, norm)
        blocks.append(Plot(f"{data} {split}, {ball}", alt, figure, data=table))
    single = material.single(material.runs)
    runs = [run for run in single if not is_corruption(run.info["norm"])]
    budgets = {run.info["eps"] for run in runs}
    if len(budgets) == 1 and math.isfinite(min(budgets)) and (more := _budgets_up_to(runs[0])):
        blocks.append(Notes([ONE_BUDGET.format(budgets=more)]))
    also = SPREAD if material.over_seeds else WILSON
    return Section("curves", "Security curves", blocks, also=also)


def _budgets_up_to(run: Run) -> str:
    """Three budgets, each twice the one before, as `--threat` takes them; the last is the run's.

    Numbers of entries or pixels are whole: fewer than three, and empty where none is smaller.
    """
    threat = split_threat(run.info["threat"])
    smaller = [run.info["eps"] / 4, run.info["eps"] / 2]
    if threat.norm in COUNTS:
        smaller = sorted({math.floor(eps) for eps in smaller} - {0})
    if not smaller:
        return ""
    levels = in_levels(threat.norm, smaller)
    sizes = [*(level(eps) if levels else f"{eps:.4g}" for eps in smaller), threat.budget]
    return shlex.quote(str(threat._replace(budget=",".join(sizes))))


def _lines(material: ReportData) -> dict[tuple[str, str, str], list[Line]]:
    """The lines of each figure; a model, or over seeds a recipe, has one place in all of them."""
    by_facts = material.lines(material.runs)
    if not material.over_seeds:
        return {key: curve_lines(series) for key, series in by_facts.items()}
    recipes = list(dict.fromkeys(recipe(run.info) for run in material.runs))
    return {
        key: [
            dataclasses.replace(line, place=recipes.index(line.training.recipe))
            for line in _means([run for run in material.runs if facts(run) == key])
            if line.training is not None
        ]
        for key in by_facts
    }


def _means(runs: Sequence[Run]) -> Sequence[Line]:
    return mean_over_seeds(plotted(runs, over_seeds=True)).lines


def _rows(line: Line, levels: bool) -> Iterator[list[Cell]]:
    for i in _some(line, _POINTS):
        low, high = float(line.low[i]), float(line.high[i])
        eps = float(line.x[i])
        yield [
            Cell(line.name),
            Cell(level(eps) if levels else digits(eps), eps),
            percent(float(line.y[i])),
            Cell(bounds(low, high), None if math.isnan(low) else low),
        ]


def _in_words(line: Line, levels: bool) -> str:
    """Every budget, of a curve of steps five of them."""
    return ", ".join(
        f"{points(line.y[i])} % at {level(line.x[i]) if levels else digits(line.x[i])}"
        for i in _some(line, 5)
    )


def _some(line: Line, n: int) -> Sequence[int]:
    """Every point of a line, of one of steps `n` of them."""
    last = len(line.x) - 1
    if not line.steps:
        return range(last + 1)
    return sorted({round(i * last / (n - 1)) for i in range(n)})
