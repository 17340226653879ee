"""The report as one HTML page: the answer, sections, the template, and the figures' library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import plotly.offline
from markupsafe import Markup

import robbench
from robbench.analysis.answer import Answer
from robbench.reports.answer import doubt, sentence
from robbench.reports.html.captions import FOLDER
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures.style import CONFIG
from robbench.reports.html.page import Plot, Section
from robbench.reports.html.sections import (
    checks,
    classes,
    comparison,
    cost,
    curves,
    history,
    margins,
    provenance,
    spectrum,
    training,
)
from robbench.reports.html.sections.gallery import gallery
from robbench.reports.html.templates import environment, read_file, source_hash

ORDER = (
    comparison.comparison,
    curves.security_curves,
    checks.checks,
    margins.logit_margins,
    margins.input_margins,
    classes.per_class,
    spectrum.spectrum,
    training.training,
    history.over_time,
    gallery,
    cost.cost,
    provenance.provenance,
    provenance.reproduce,
)


def page_sections(material: ReportData) -> list[Section]:
    """The sections of the page, top to bottom. Raises UserError for no run."""
    return [make(material) for make in ORDER]


def render(
    material: ReportData,
    answers: Sequence[Answer],
    found: Sequence[Section],
    title: str,
    *,
    cdn: bool = False,
) -> str:
    """The page of some sections, with the answers on top.

    Every text in it is escaped; it asks nothing of the network, and its policy forbids it to. With
    `cdn` it asks for one file, the figures' library in this version, and takes no other content.
    """
    models = list(dict.fromkeys(run.info["model"] for run in material.runs))
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            sections=found,
            models=models,
            n_runs=len(material.runs),
            version=robbench.__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            config=dict(CONFIG),
            figure=_json,
            css=Markup(read_file("page.css")),
            js=Markup(read_file("page.js")),
            folder=FOLDER,
            answers=[(sentence(one, among=answers), *doubt(one)) for one in answers],
            plotly="" if cdn else Markup(plotly.offline.get_plotlyjs()),
            cdn=_address() if cdn else "",
            integrity=source_hash(plotly.offline.get_plotlyjs()) if cdn else "",
        )
    )


def _json(plot: Plot) -> Markup:
    """A figure for a script element: Plotly escapes tags, so no name in it ends the element."""
    return Markup(plot.figure.to_json())


def _address() -> str:
    return f"https://cdn.plot.ly/plotly-{plotly.offline.get_plotlyjs_version()}.min.js"
