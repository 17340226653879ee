"""The report as one HTML page: sections, the template, and Plotly's script inside, once."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources

import jinja2
import plotly.offline
from markupsafe import Markup

import robbench
from robbench.reports.html.data import ReportData
from robbench.reports.html.figures import CONFIG
from robbench.reports.html.page import Plot, Section
from robbench.reports.html.sections import (
    checks,
    comparison,
    margins,
    provenance,
    spectrum,
    training,
)
from robbench.reports.html.sections.gallery import gallery

ORDER = (
    comparison.comparison,
    comparison.security_curves,
    margins.logit_margins,
    margins.input_margins,
    comparison.per_class,
    spectrum.spectrum,
    training.training,
    gallery,
    comparison.cost,
    checks.checks,
    provenance.provenance,
    provenance.reproduce,
)


def page_sections(material: ReportData) -> list[Section]:
    """The sections of the page, top to bottom. Raises UserError for no run."""
    return [make(material) for make in ORDER]


def render(material: ReportData, found: list[Section], title: str) -> str:
    """The page of some sections.

    Every text in it is escaped; it asks nothing of the network, and its policy forbids it to.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("robbench.reports.html", "template"),
    )
    folder = resources.files("robbench.reports.html") / "template"
    texts = {
        name: Markup((folder / f"page.{name}").read_text(encoding="utf-8"))
        for name in ("css", "js")
    }
    models = list(dict.fromkeys(run.info["model"] for run in material.runs))
    return environment.get_template("page.html").render(
        title=title,
        sections=found,
        models=models,
        n_runs=len(material.runs),
        version=robbench.__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        config=dict(CONFIG),
        figure=_json,
        css=texts["css"],
        js=texts["js"],
        plotly=Markup(plotly.offline.get_plotlyjs()),
    )


def _json(plot: Plot) -> Markup:
    """A figure for a script element: Plotly escapes tags, so no name in it ends the element."""
    return Markup(plot.figure.to_json())
