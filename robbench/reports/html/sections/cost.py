"""The section about costs."""

from __future__ import annotations

from robbench.analysis.series import model_names, name_of
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import bars as figures
from robbench.reports.html.page import Cell, Head, Plot, Section, Table, amount, in_words

ROW_PIXELS = 30


def cost(material: ReportData) -> Section:
    """What each run cost."""
    runs, names = material.single(material.runs), model_names(material.runs)
    if not runs:
        return Section("cost", "Cost", [])
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
            amount(f),
            amount(b),
            amount(run.info["wall_s"]),
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
