"""Sections from the runs alone: comparison, security curves, classes and cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from robbench.analysis.compare import compare
from robbench.analysis.figure_data import Curve, by_class, curves
from robbench.analysis.series import Series, model_names, name_of, numbers, series_by_facts
from robbench.reports import texts
from robbench.reports.html import figures
from robbench.reports.html.captions import ONE_BUDGET
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import (
    Cell,
    Head,
    Notes,
    Plot,
    Section,
    Table,
    in_words,
    number,
    percent,
)
from robbench.store.run import Run

ROW_PIXELS = 30
_MOST_CLASSES = 40
_FACTS = {
    "data": "data",
    "split": "split",
    "subset": "subset",
    "threat": "threat model",
    "max_time_s": "time limit (s)",
    "max_queries": "query limit",
    "attack": "attack",
    "loss": "loss",
}
_LATE = ("attack", "loss")  # long texts: behind the numbers
_NUMBERS = (
    Head("clean accuracy"),
    Head("robust accuracy", "share of samples that no attack broke"),
    Head("95 % interval", "Wilson"),
    Head("adversarial ratio", "1 - robust accuracy"),
    Head("clean margin", "median logit margin"),
    Head("worst margin", "median of the lowest logit margins found"),
    Head("difference", "robust accuracy, in points, to the first run"),
    Head("p", "exact McNemar test"),
    Head("F+B", "forwards and backwards per sample"),
)


def comparison(material: ReportData) -> Section:
    """Every run in one sortable table; what all runs have in common is in its caption."""
    runs, rows, names = material.runs, compare(material.runs), model_names(material.runs)
    pairs = list(zip(runs, rows, strict=True))
    differ = [key for key in _FACTS if len({row[key] for row in rows}) > 1]
    apart = any(row["settings"] for row in rows)
    endless = any(row["distance_p50"] is not None for row in rows)
    early, late = (
        [key for key in differ if key not in _LATE],
        [key for key in differ if key in _LATE],
    )
    heads = [
        Head("model", number=False),
        *(
            [Head("settings", "in what it differs from the other runs", number=False)]
            if apart
            else []
        ),
        *(Head(_FACTS[key], number=False) for key in early),
        *_NUMBERS,
        *([Head("median distance", "of the smallest perturbation found")] if endless else []),
        *(Head(_FACTS[key], number=False) for key in late),
    ]
    cells = [
        [
            Cell(name_of(run, names)),
            *([Cell(row["settings"] or texts.NOTHING)] if apart else []),
            *(_fact(run, key) for key in early),
            *_measured(row),
            *([number(row["distance_p50"])] if endless else []),
            *(_fact(run, key) for key in late),
        ]
        for run, row in pairs
    ]
    common = [
        f"{title} {runs[0].info[key]}"
        for key, title in _FACTS.items()
        if key not in differ and runs[0].info[key]
    ]
    sizes = sorted({row["n_samples"] for row in rows})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    blocks: list[Any] = [
        Table("; ".join([*common, f"{size} samples each"]), heads, cells, sortable=True)
    ]
    titles = [
        f"{' '.join(filter(None, [name_of(run, names), row['settings']]))} {row['threat']}"
        for run, row in pairs
    ]
    if warnings := _gathered(
        [
            (title, text)
            for title, row in zip(titles, rows, strict=True)
            for text in texts.warnings(row)
        ]
    ):
        blocks.append(Notes(warnings, warning=True))
    remarks = [
        (title, row["note"])
        for title, row in zip(titles, rows, strict=True)
        if row["note"] not in (None, "baseline")
        and len(rows) > 1  # a run shown alone has nothing to be paired with
    ]
    return Section(
        "comparison", "Comparison", [*blocks, Notes([*_gathered(remarks), texts.FOOTNOTE])]
    )


def security_curves(material: ReportData) -> Section:
    """Robust accuracy over the budget, a figure for each data set, split and norm."""
    blocks: list[Any] = []
    heads = [
        Head("model", number=False),
        Head("eps"),
        Head("robust accuracy"),
        Head("95 % interval"),
    ]
    for (data, split, norm), series in series_by_facts(material.runs).items():
        lines = [(one, curve) for one in series for curve in curves(one)]
        rows = [row for one, curve in lines if not curve.steps for row in _curve_rows(one, curve)]
        table = Table(f"Robust accuracy on {data} {split} at each {norm} budget", heads, rows)
        words = in_words([f"{one.name}: {_curve_in_words(curve)}" for one, curve in lines])
        alt = f"Line chart of robust accuracy over {norm} eps. {words}."
        figure = figures.security_curves(lines, norm)
        blocks.append(Plot(f"{data} {split}, {norm}", alt, figure, data=table if rows else None))
    if len({run.info["eps"] for run in material.runs}) == 1 and math.isfinite(
        material.runs[0].info["eps"]
    ):
        blocks.append(Notes([ONE_BUDGET]))
    return Section("curves", "Security curves", blocks)


def per_class(material: ReportData) -> Section:
    """Robust accuracy by class, a heat map for each data set, split and norm."""
    blocks: list[Any] = []
    for (data, split, norm), series in series_by_facts(material.runs).items():
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
        plot = Plot(
            f"{data} {split}, {norm}",
            f"Heat map of robust accuracy by class. {words}.",
            figures.heat_map(names, classes, rates),
            caption=f"The smallest class has {few} samples: "
            f"one more or less is {100 / few:.1f} points.",
            height=120 + ROW_PIXELS * len(names),
            data=table if len(classes) <= _MOST_CLASSES else None,
        )
        blocks.append(plot)
    return Section("classes", "Classes", blocks)


def cost(material: ReportData) -> Section:
    """What each run cost."""
    runs, names = material.runs, model_names(material.runs)
    titles = [f"{name_of(run, names)}, {run.info['threat']}" for run in runs]
    if len(set(titles)) < len(titles):
        titles = [
            f"{title}, {run.info['run_id'][:4]}" for title, run in zip(titles, runs, strict=True)
        ]
    forwards, backwards = (
        [run.info[f"n_{way}"] / run.info["n_samples"] for run in runs]
        for way in ("forward", "backward")
    )
    rows = [
        [
            Cell(title),
            number(f, ",.1f"),
            number(b, ",.1f"),
            number(run.info["wall_s"], ",.1f"),
            Cell(run.info["device_name"]),
        ]
        for title, run, f, b in zip(titles, runs, forwards, backwards, strict=True)
    ]
    heads = [
        Head("run", number=False),
        Head("forwards"),
        Head("backwards"),
        Head("seconds"),
        Head("device", number=False),
    ]
    words = in_words(
        [f"{row[0].text}: {row[1].text} forwards and {row[2].text} backwards" for row in rows]
    )
    plot = Plot(
        "Forwards and backwards per sample",
        f"Bar chart of queries per sample. {words}.",
        figures.costs(titles, forwards, backwards),
        height=120 + ROW_PIXELS * len(titles),
        data=Table("Cost of each run: queries per sample, seconds of all samples", heads, rows),
    )
    return Section("cost", "Cost", [plot])


def _measured(row: dict[str, Any]) -> list[Cell]:
    """The cells of `_NUMBERS`, of a row of `compare`."""
    if row["robust_difference"] is None:
        difference = [Cell(texts.NOTHING), Cell(texts.NOTHING)]
    else:
        points, p = 100 * row["robust_difference"], row["p_holm"]
        difference = [
            Cell(f"{points:+.1f}", points),
            Cell("<0.001" if p < 0.001 else f"{p:.3f}", p),
        ]
    return [
        percent(row["clean_accuracy"]),
        percent(row["robust_accuracy"]),
        Cell(texts.interval(row), row["robust_accuracy_low"]),
        percent(row["adversarial_ratio"]),
        number(row["clean_margin_p50"]),
        number(row["adv_margin_p50"]),
        *difference,
        Cell(texts.queries(row), (row["n_forward"] + row["n_backward"]) / row["n_samples"]),
    ]


def _gathered(said: Sequence[tuple[str, str]]) -> list[str]:
    """(who, what) -> one line for each what, with all it is said of."""
    who: dict[str, list[str]] = {}
    for title, text in said:
        who.setdefault(text, []).append(title)
    return [f"{', '.join(dict.fromkeys(titles))}: {text}" for text, titles in who.items()]


def _fact(run: Run, key: str) -> Cell:
    return Cell(str(run.info[key] or texts.NOTHING), run.info["eps"] if key == "threat" else None)


def _curve_rows(series: Series, curve: Curve) -> Iterator[list[Cell]]:
    for eps, rate, low, high in zip(curve.eps, curve.rate, curve.low, curve.high, strict=True):
        yield [
            Cell(series.name),
            number(eps),
            percent(rate),
            Cell(f"{100 * low:.1f}-{100 * high:.1f}", low),
        ]


def _curve_in_words(curve: Curve) -> str:
    """Every budget, of a curve of steps five of them."""
    last = len(curve.eps) - 1
    at = sorted({round(i * last / 4) for i in range(5)}) if curve.steps else range(last + 1)
    return ", ".join(f"{100 * curve.rate[i]:.1f} % at {curve.eps[i]:.3g}" for i in at)


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
