"""The page: whole, safe, quiet, and readable by more than eyes."""

from __future__ import annotations

import html.parser
import json
import math
import re
from pathlib import Path

import plotly.io
import pytest

from robbench.analysis.answer import answers
from robbench.analysis.commands import Command
from robbench.reports.html.captions import FOLDER, MISSING, WHAT
from robbench.reports.html.data import Example, ReportData, Training
from robbench.reports.html.figures.style import COLOURS
from robbench.reports.html.render import page_sections, render

EVIL = "</script><script>alert('x')</script>\"&<b>"


class _Elements(html.parser.HTMLParser):
    """All elements of a page with their attributes, and what stands inside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = self.open[: -self.open[::-1].index(tag) - 1] if tag in self.open else self.open

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def _render(material, title="t", **how):
    said = answers(material.runs, checks=material.checks)
    return render(material, said, page_sections(material), title, **how)


@pytest.fixture
def page(add_run):
    """The page of three runs with every section, and names that try to break out."""
    import numpy as np

    runs = [
        add_run(c * 12, eps=eps, model=model, model_hash=model, loss=EVIL, device_name=EVIL)[1]
        for c, eps, model in (("a", 0.05, "ce"), ("b", 0.1, "ce"), ("c", 0.1, EVIL))
    ]
    runs.append(add_run("d" * 12, eps=math.inf, attack=EVIL)[1])
    epochs = [
        {"epoch": i, "train_loss": 1 / (i + 1), "clean_accuracy": 0.5, "robust_accuracy": None}
        for i in range(3)
    ]
    image = np.full((1, 8, 8), 0.5, np.float32)
    check = {
        "check": EVIL,
        "severity": "error",
        "verdict": "fail",
        "figure": 0.5,
        "threshold": 0.1,
        "text": EVIL,
        "evidence": [1],
        "automatic": True,
    }
    measure = {
        "name": "numerical_rank",
        "points": "clean",
        "split": "test",
        "class": None,
        "value": 2.0,
        "detail": json.dumps({"singular_values": [1.0, 0.5, 0.0]}),
    }
    material = ReportData(
        runs,
        {
            EVIL: Training(
                epochs, Command(f"robbench train --name {EVIL}"), [Command(EVIL)], {EVIL: EVIL}
            ),
            "ce": Training(epochs, None),
        },
        {"ce": [EVIL, "b", "c", "d"]},
        {"a" * 12: [measure]},
        {"a" * 12: [check, {**check, "verdict": "pass", "evidence": []}]},
        [Example("a" * 12, 7, EVIL, EVIL, EVIL, "linf", 0.05, EVIL, image, image + 0.1)],
        [EVIL],
        {EVIL: EVIL},
        f"robbench report {EVIL}",
    )
    return _render(material, EVIL)


def test_no_name_from_a_run_becomes_markup(page):
    """Tags in names, classes, checks and commands stay text, in page and figure data."""
    elements = _Elements(page)
    assert len(elements.all("script")) == page.count(
        "</script>"
    )  # none ends early, none begins inside another
    assert not any(
        "alert('x')" in script for script in elements.scripts if not script.lstrip().startswith("{")
    )
    assert not elements.all("b")
    figures = [
        json.loads(script) for script in elements.scripts if script.lstrip().startswith('{"data"')
    ]
    names = [trace.get("name") or "" for figure in figures for trace in figure["data"]]
    assert any(
        "&lt;/script" in name for name in names
    )  # Plotly reads HTML in names, and shows this one as it was
    assert not any("<" in name for name in names)
    assert "alert('x')" in "".join(elements.text)


def test_plotly_is_inside_once_and_nothing_is_loaded_or_sent(page):
    """One script, no external addresses, a policy against them, no upload button or logo."""
    elements = _Elements(page)
    assert page.count("window.Plotly = Plotly") == 1
    assert not [
        attributes
        for tag, attributes in elements.found
        if "src" in attributes and not attributes["src"].startswith("data:")
    ]
    assert not elements.all("link")
    policy = next(
        meta["content"]
        for meta in elements.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "http" not in policy
    config = json.loads(re.search(r'id="plotly-config"[^>]*>(.*?)</script>', page, re.S)[1])
    assert (config["showSendToCloud"], config["plotlyServerURL"], config["displaylogo"]) == (
        False,
        "",
        False,
    )
    assert (
        page.count("Plotly.newPlot(") == 1
    )  # all figures are drawn by the one line that uses this configuration
    assert len(page.encode()) < 8e6


def test_every_figure_and_picture_has_a_text_and_every_table_a_caption(page):
    """Figures have descriptions; headings, landmarks, language and a skip link exist."""
    elements = _Elements(page)
    plots = [div for div in elements.all("div") if div.get("class") == "plot"]
    assert len(plots) >= 8
    assert all(len(plot["aria-label"]) > 30 for plot in plots)
    assert len({plot["id"] for plot in plots}) == len(plots)
    assert all(image["alt"] for image in elements.all("img"))
    assert len(elements.all("table")) == len(elements.all("caption"))
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in elements.all("th"))
    assert elements.all("html") == [{"lang": "en"}]
    assert next(link["href"] for link in elements.all("a")) == "#main"
    assert [len(elements.all(tag)) for tag in ("main", "nav", "header", "footer", "h1")] == [1] * 5
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_link_of_the_contents_leads_somewhere(page):
    """The contents name every section."""
    elements = _Elements(page)
    ids = {attributes.get("id") for _, attributes in elements.found}
    links = [link["href"] for link in elements.all("a")]
    assert len(links) == 16
    assert {link[1:] for link in links} <= ids


def test_a_section_without_data_says_how_to_get_it(add_run):
    """One run, nothing beside it: five sections have a line with a command, and no figure."""
    material = ReportData([add_run("abcdef012345")[1]])
    sections = page_sections(material)
    empty = {section.id for section in sections if not section.blocks}
    assert empty == {"spectrum", "training", "over-time", "gallery", "checks"}
    text = " ".join(_Elements(_render(material)).text)
    for command in (
        "robbench measure abcdef012345",
        "robbench check abcdef012345",
        "--store-points",
        "robbench train",
    ):
        assert command in text
    assert {section.id for section in sections} == set(WHAT)
    assert set(MISSING) <= set(WHAT)


def test_the_commands_are_the_recorded_ones(page, add_run):
    """The attack as typed; unrecorded, one that gives the run; environment in front."""
    assert "robbench attack ce --threat linf:0.1" in page
    assert "How ce was trained is not recorded" in page
    facts = json.dumps({"argv": ["/x/pytest"], "env": {}})
    bare = add_run("e" * 12, provenance=facts, attack="fgsm + pgd", subset="first=9")[1]
    set_ = add_run(
        "f" * 12,
        provenance=json.dumps(
            {"argv": ["robbench", "attack", "m"], "env": {"ROBBENCH_SEED": "a b"}}
        ),
    )[1]
    for runs, wanted in (
        (
            [bare],
            "robbench attack ce --attack fgsm --attack pgd --threat linf:0.1 --data digits "
            "--split test --seed 0 --limit first=9",
        ),
        ([set_], "export ROBBENCH_SEED='a b'"),
        ([bare, set_], "ROBBENCH_SEED='a b' robbench attack m"),
    ):
        material = ReportData(runs)
        shown = " ".join(_Elements(_render(material)).text)
        assert wanted in shown


def test_with_cdn_the_library_is_named_with_its_hash_and_nothing_else_may_load(add_run):
    """Address and hash are those of Plotly's own pages; the policy names that one file."""
    page = _render(ReportData([add_run("a" * 12)[1]]), cdn=True)
    (script,) = [found for found in _Elements(page).all("script") if "src" in found]
    theirs = _Elements(plotly.io.to_html({"data": []}, include_plotlyjs="cdn")).all("script")
    (wanted,) = [found for found in theirs if "src" in found]
    for name in ("src", "integrity", "crossorigin"):
        assert script[name] == wanted[name]
    assert re.search(r"/plotly-\d+\.\d+\.\d+\.min\.js$", script["src"])
    (policy,) = [m["content"] for m in _Elements(page).all("meta") if "http-equiv" in m]
    assert re.findall(r"https?://[^; ]+", policy) == [script["src"]]
    assert len(page.encode()) < 2e6


def test_the_answer_comes_first_and_its_doubt_beside_it(add_run):
    """Before any section: the sentence, and that nobody checked it."""
    page = _render(ReportData([add_run("a" * 12)[1]]))
    text = " ".join(_Elements(page).text)
    assert 0 < text.index("ce keeps") < text.index("robbench check " + "a" * 12)
    assert text.index("robbench check " + "a" * 12) < text.index("Press a column")


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_folder_of_the_commands_is_named_once(page):
    """A page is read anywhere: it knows no folder."""
    assert page.count(FOLDER) == 1


def test_colours_stand_out_in_light_and_dark():
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for lines of figures, on both papers."""
    css = (
        Path(__file__).parents[3] / "robbench" / "reports" / "html" / "template" / "page.css"
    ).read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in css.split("@media screen")[:2]
    )
    for scheme in (light, dark):
        for paper in ("paper", "panel"):
            assert (
                min(
                    _contrast(scheme[ink], scheme[paper])
                    for ink in ("ink", "soft", "link", "bad", "doubt", "good")
                )
                >= 4.5
            )
        assert _contrast(scheme["ink"], scheme["warn"]) >= 4.5
        assert min(_contrast(colour, scheme["paper"]) for colour in COLOURS) >= 3
