"""Files of figures: formats, fonts, the same bytes each time, no trace in Matplotlib."""

from __future__ import annotations

import csv
import re
import zlib
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from robbench.analysis.plots.curves import security_curves
from robbench.core.errors import UserError
from robbench.reports.figures.plot import DRAW, draw, require_figure

MAGIC = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}


@pytest.fixture
def plotted(add_run):
    return security_curves(
        [
            add_run(name * 12, eps=eps, model=model, model_hash=model)[1]
            for name, eps, model in (
                ("a", 8 / 255, "ce"),
                ("b", 16 / 255, "ce"),
                ("c", 8 / 255, "at"),
            )
        ]
    )


@pytest.mark.parametrize("kind", MAGIC)
def test_the_same_numbers_are_the_same_bytes(plotted, kind, tmp_path):
    """Drawn twice, of each format; its ending says which it is, in any case."""
    for name in ("a", "b"):
        draw(plotted).save(tmp_path / f"{name}.{kind.upper()}")
    first, second = ((tmp_path / f"{name}.{kind.upper()}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(MAGIC[kind])
    assert not re.search(rb"CreationDate|ModDate|<dc:date>", first)


def test_fonts_are_embedded_as_truetype(plotted, tmp_path):
    """No Type 3, which publishers refuse; the page is a column wide."""
    draw(plotted).save(tmp_path / "f.pdf")
    content = (tmp_path / "f.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    assert b"/FontFile2" in content
    assert b"/Subtype /Type3" not in content
    assert b"/CIDFontType2" in content
    assert re.search(rb"/MediaBox \[ 0 0 234 ", content), "3.25 inches of 72 points"
    assert any(zlib.decompress(part) for part in streams if part[:1] == b"x")


def test_the_csv_has_the_numbers_that_the_lines_have(plotted, tmp_path):
    """Every point of every line of the figure, bit by bit, in order."""
    made = draw(plotted)
    made.save_data(tmp_path / "f.csv")
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    drawn = [
        (line.get_label(), float(x), float(y))
        for ax in made.figure.axes
        for line in ax.get_lines()
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    assert drawn == [
        (row["line"], float(row["eps"]), float(row["robust_accuracy"])) for row in rows
    ]
    assert made.data["robust_accuracy"].tolist() == [y for _, _, y in drawn]
    bands = [band.get_paths()[0].vertices for band in made.figure.axes[0].collections]
    for name, points in zip(dict.fromkeys(row["line"] for row in rows), bands, strict=True):
        for row in (row for row in rows if row["line"] == name):
            for end in ("low", "high"):
                assert [float(row["eps"]), float(row[end])] in points.tolist()


def test_settings_of_matplotlib_stay(plotted, tmp_path):
    """Nor is pyplot loaded, which has figures of its own."""
    before = dict(mpl.rcParams)
    draw(plotted).save(tmp_path / "f.pdf")
    assert dict(mpl.rcParams) == before


def test_a_notebook_shows_a_picture(plotted):
    """As PNG; a console its caption."""
    assert draw(plotted)._repr_png_().startswith(MAGIC["png"])
    assert repr(draw(plotted)) == f"Plot: {plotted.caption}"


@pytest.mark.parametrize("name", ["f.jpg", "f", "runs", "f.pdf.zip"])
def test_other_files_are_refused(name, tmp_path):
    """Before any work, in one line that names the endings."""
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(UserError, match=r"ends in \.pdf, \.svg, \.png or \.pgf"):
        require_figure(tmp_path / name)


def test_pgf_asks_for_tex(monkeypatch, tmp_path):
    """Matplotlib measures texts with it; where there is none one line says so."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="none of xelatex, lualatex, pdflatex is installed"):
        require_figure(tmp_path / "f.pgf")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert require_figure(tmp_path / "f.pgf") == "pgf"


@pytest.mark.few(4)
@pytest.mark.parametrize("kind", DRAW)
def test_names_are_text_and_not_mathematics(plotted, kind, tmp_path):
    """Dollars, backslashes, underscores, control and foreign signs: drawn without a warning."""
    name = "_$x^2$ \\alpha\n\x1b[2J \u4e2d\u6587 100%"
    line = replace(
        plotted.lines[0],
        name=name,
        x=np.array([1.0, 2.0, 3.0]) / (4 if kind == "curves" else 1),
        panel="clean",
    )
    odd = replace(plotted, kind=kind, lines=[line, replace(line, place=1, name="b")])
    made = draw(odd)
    made.save(tmp_path / "f.pdf")
    (legend,) = made.figure.legends
    shown = legend.get_texts()[0].get_text()
    assert shown == "_\\$x^2\\$ \\alpha ?[2J \u4e2d\u6587 100%"
