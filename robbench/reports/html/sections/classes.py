"""The section about classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from robbench.analysis.figure_data import by_class
from robbench.analysis.series import numbers
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import bars as figures
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, in_words, percent
from robbench.store.run import Run

ROW_PIXELS = 30
_MOST_CLASSES = 40


def per_class(material: ReportData) -> Section:
    """Robust accuracy by class, a heat map for each data set, split and norm."""
    blocks: list[Any] = []
    for (data, split, norm), series in material.lines(material.shown).items():
        runs = [(one, run) for one in series for run in one.budgets]
        if not runs:
            continue
        classes = _classes(material, [run for _, run in runs])
        names = [f"{one.name}, {run.info['threat'].partition(':')[2]}" for one, run in runs]
        found = [by_class(run, len(classes)) for _, run in runs]
        rates = [rates for rates, _ in found]
        lowest = [
            min(
                (rate, label)
                for rate, label in zip(row, classes, strict=True)
                if not math.isnan(rate)
            )
            for row in rates
        ]
        words = in_words(
            [
                f"{name}: lowest {100 * rate:.0f} % for class {label}"
                for name, (rate, label) in zip(names, lowest, strict=True)
            ]
        )
        few = min(count for _, counts in found for count in counts if count)
        table = Table(
            f"Robust accuracy by class, {data} {split}, {norm}",
            [Head("model, eps", number=False), *map(Head, classes)],
            [[Cell(name), *map(percent, row)] for name, row in zip(names, rates, strict=True)],
        )
        size = f"The smallest class has {few} samples"
        plot = Plot(
            f"{data} {split}, {norm}",
            f"Heat map of robust accuracy by class. {words}.",
            figures.heat_map(names, classes, rates),
            caption=f"{size}: one more or less is {100 / few:.1f} points.",
            height=120 + ROW_PIXELS * len(names),
            data=table if len(classes) <= _MOST_CLASSES else None,
        )
        blocks.append(plot)
    return Section("classes", "Classes", blocks, also=material.one_seed)


def _classes(material: ReportData, runs: Sequence[Run]) -> list[str]:
    """The names of the classes as far as a model knows them, then numbers."""
    named = next(
        (
            material.classes[run.info["model"]]
            for run in runs
            if material.classes.get(run.info["model"])
        ),
        (),
    )
    n = max(len(named), *(int(numbers(run, "label").max()) + 1 for run in runs))
    return [*named, *map(str, range(len(named), n))]
