"""The sections about margins: of logits, and of inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robbench.analysis.figure_data import Margins
from robbench.analysis.figure_data import input_margins as margins_by_model
from robbench.analysis.series import Floats, Series, numbers, series_by_facts
from robbench.analysis.summary import n_unknown, quantile
from robbench.core.corruptions import is_corruption
from robbench.reports import texts
from robbench.reports.html.captions import ANY_SIZE
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import histograms as figures
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, in_words, number, percent
from robbench.reports.html.sections.consistency import beside_input_margins
from robbench.store.run import Run

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def logit_margins(material: ReportData) -> Section:
    """Clean and worst logit margins, a figure for each threat model; one of them is open."""
    found: list[tuple[tuple[bool, int], Plot]] = []
    for (data, split, _), series in material.lines(material.shown).items():
        for eps in sorted({run.info["eps"] for one in series for run in one.runs}):
            lines = [(one, run) for one in series for run in one.runs if run.info["eps"] == eps]
            threat = texts.threat(lines[0][1].info["threat"])
            plot = _logit_figure(f"{data} {split}, {threat}", lines)
            found.append(((math.isfinite(eps), len(lines)), plot))
    if not found:
        return Section("logit-margins", "Logit margins", [])
    # Without a budget all worst margins are about zero. Of budgets that as many models share the
    # middle one tells most.
    best = [i for i, (rank, _) in enumerate(found) if rank == max(rank for rank, _ in found)]
    chosen = best[len(best) // 2]
    folded = [
        dataclasses.replace(plot, folded=True) for i, (_, plot) in enumerate(found) if i != chosen
    ]
    blocks = [found[chosen][1], *folded]
    return Section("logit-margins", "Logit margins", blocks, also=material.one_seed)


def input_margins(material: ReportData) -> Section:
    """The smallest perturbations found, a figure for each data set, split and norm."""
    blocks: list[Plot | Table] = []
    heads = [
        Head("model", number=False),
        Head("lower quartile"),
        Head("median"),
        Head("none found"),
    ]
    heads += [Head("not finished", "time or queries ran out"), Head("attacked up to")]
    # The way to a target says nothing of that to the nearest mistake; a corruption seeks none.
    shown = [
        run
        for run in material.shown
        if run.info["target"] is None and not is_corruption(run.info["norm"])
    ]
    for (data, split, norm), series in series_by_facts(shown).items():
        found = [one for one in margins_by_model(series, shown) if np.isfinite(one.smallest).any()]
        if not found:
            continue
        rows = [_margin_row(one) for one in found]
        words = in_words(
            [f"{row[0].text}: median {row[2].text}, none found for {row[3].text}" for row in rows]
        )
        plot = Plot(
            f"{data} {split}, {norm}",
            f"Histograms of the sizes of the smallest perturbations found. {words}.",
            figures.input_margins(found, norm),
            caption="" if all(one.sought for one in found) else ANY_SIZE,
            height=figures.height(len(found)),
            data=Table(f"Input margins, {data} {split}, {norm}", heads, rows),
        )
        blocks.append(plot)
    if beside := beside_input_margins(material):
        blocks.append(beside)
    return Section("input-margins", "Input margins", blocks, also=material.one_seed)


def _logit_figure(title: str, lines: Sequence[tuple[Series, Run]]) -> Plot:
    values = [(one, numbers(run, "clean_margin"), numbers(run, "adv_margin")) for one, run in lines]
    rows = []
    for (one, clean, worst), (_, run) in zip(values, lines, strict=True):
        rows += [
            _quantile_row(one.name, "clean", clean),
            _quantile_row(one.name, "worst", worst, n_unknown(run.samples)),
        ]
    words = in_words(
        [
            f"{row[0].text} {row[1].text}: median {row[4].text}, {row[-1].text} below zero"
            for row in rows
        ]
    )
    quantiles = ["median" if q == 0.5 else f"{100 * q:.0f} %" for q in _QUANTILES]
    heads = [
        Head("model", number=False),
        Head("input", number=False),
        *map(Head, [*quantiles, "below 0"]),
    ]
    table = Table(f"Quantiles of logit margins, {title}", heads, rows)
    return Plot(
        title,
        f"Histograms of logit margins. {words}.",
        figures.logit_margins(values),
        height=figures.height(len(values)),
        data=table,
    )


def _quantile_row(name: str, where: str, margins: Floats, unknown: int = 0) -> list[Cell]:
    finite = margins[np.isfinite(margins)]
    cells: list[Any] = [number(quantile(finite, q, unknown)) for q in _QUANTILES]
    return [Cell(name), Cell(where), *cells, percent(float((margins < 0).mean()))]


def _margin_row(one: Margins) -> list[Cell]:
    # Others make inf - inf of what was not found.
    quartile = float(np.quantile(one.smallest, 0.25, method="lower"))
    middle = float(np.median(one.smallest))  # as the other tables have it
    end = Cell("no limit" if math.isinf(one.end) else texts.digits(one.end, 4), one.end)
    return [
        Cell(one.name),
        number(quartile),
        number(middle),
        percent(one.censored),
        percent(one.unfinished),
        end,
    ]
