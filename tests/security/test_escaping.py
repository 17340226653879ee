"""Names in files, in every output: no terminal, spreadsheet, CI or Markdown obeys them."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest

NAME = (
    "evil\x1b]0;owned\x07\x1b[2J\n::error::forged\n"
    "##[error]forged|<script>alert(1)</script>`x`[a](http://b.c)\u202e[bold]b[/bold]"
)


@pytest.fixture
def named(attacked, row_of, rewrite):
    """A run of a model with such a name, with such a warning."""
    rewrite(row_of(attacked), model=NAME, flags=json.dumps([{"name": "sign", "text": NAME}]))
    return attacked


@pytest.mark.parametrize(
    "words",
    [
        *(
            "compare",
            "compare --csv",
            "compare --markdown",
            "compare --latex",
            "runs",
            "show {run}",
        ),
        *(
            "gate --baseline {run} --candidate {run} --these-samples",
            "baseline set {run}",
            "query 'SELECT model FROM runs'",
        ),
        *(
            "measure {run}",
            "check {run}",
            "compare --where model=x",
            "query --csv 'SELECT model FROM runs'",
        ),
    ],
)
@pytest.mark.parametrize("debug", [{}, {"GITHUB_ACTIONS": "1"}], ids=["", "ci"])
def test_no_control_sequence_and_no_command(cli, named, row_of, words, debug):
    """No stream has a control character or a forged CI command, or loses the rest of a name."""
    done = cli(words.format(run=row_of(named)), "--out", named, env=debug)
    for text in (done.out, done.err):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text), text
        assert not re.search(r"^\s*::error::forged|##\[", text, re.MULTILINE), text
    assert done.code in (0, 1, 2, 4), done
    if words in ("compare", "runs", "show {run}"):
        assert "[bold]" in "".join(done.out.split()), "markup is shown, not followed"


def test_markdown_and_junit(cli, named, row_of, tmp_path):
    """A summary for a pull request shows the name; XML stays XML."""
    run = row_of(named)
    gate = f"gate --baseline {run} --candidate {run} --these-samples"
    done = cli(
        gate, "--markdown", tmp_path / "a.md", "--junit-xml", tmp_path / "a.xml", "--out", named
    )
    assert done.code == 0, done.err
    written = (tmp_path / "a.md").read_text()
    for text in (written, cli("compare --markdown --out", named).out):
        for sign in ("<script>", "`x`", "[a](", "http://"):
            assert not re.search(rf"(?<!\\){re.escape(sign)}", text), (sign, text)
        assert (
            len(
                {
                    len(re.findall(r"(?<!\\)\|", line))
                    for line in text.splitlines()
                    if line.startswith("|")
                }
            )
            == 1
        )
    suite = ET.parse(tmp_path / "a.xml").getroot().find("testsuite")
    assert "evil" in suite.get("name")
    assert "alert(1)" in suite.get("name")


def test_html(cli, named, tmp_path):
    """The report shows the name as text."""
    done = cli("report --html", tmp_path / "r.html", "--out", named)
    assert done.code == 0, done.err
    page = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d"])
def test_csv_formulas(cli, attacked, row_of, rewrite, start):
    """A name that a spreadsheet would compute is text in both commands; numbers stay numbers."""
    rewrite(row_of(attacked), model=f"{start}cmd|' /C calc'!A0")
    for words in (
        "compare --csv",
        "query --csv 'SELECT model, -1.5 AS number, ''-2'' AS digits FROM runs'",
    ):
        done = cli(words, "--out", attacked)
        (row,) = csv.DictReader(io.StringIO(done.out))
        assert row["model"].startswith(("'", "?")), done.out
        assert "calc" in row["model"]
        if "query" in words:
            assert (row["number"], row["digits"]) == ("-1.5", "-2")
    sql = 'SELECT 1 AS "=cmd()"'
    assert cli("query --csv --out", attacked, sql).out == "'=cmd()\n1\n"


def test_folders_of_data(cli, tmp_path):
    """The names of private data sets are those of folders."""
    (tmp_path / "evil\x1b[2J").mkdir()
    (tmp_path / "evil\x1b[2J" / "train.parquet").touch()
    for words in ("list data", "list data --quiet"):
        done = cli(words, env={"ROBBENCH_DATA_DIR": str(tmp_path)})
        assert (done.code, "\x1b" in done.out, "evil?[2J" in done.out) == (0, False, True), done
