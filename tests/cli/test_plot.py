"""`robbench plot`: the caption on stdout, files as requested, one line for an error."""

from __future__ import annotations

import csv

import robbench


def test_the_command_says_where_and_what(cli, stored, tmp_path):
    """The figure is in the working folder by default; stdout has only its caption."""
    stored("aaaa11111111")
    done = cli("plot curves ce --csv c.csv --out", tmp_path, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.startswith("curves.pdf: Robust accuracy against the linf budget on ")
    assert "2 rows written to c.csv" in done.err
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert cli("plot curves ce -q -o x.png --out", tmp_path, cwd=tmp_path).err == ""


def test_json_has_the_numbers(cli, stored, tmp_path):
    """The rows of the CSV and of the Python API."""
    stored("aaaa11111111")
    done = cli("plot margins -o m.svg --csv m.csv --json --out", tmp_path, cwd=tmp_path)
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert done.json["schema"] == "robbench.plot/1"
    assert [float(row["margin"]) for row in rows] == [row["margin"] for row in done.json["rows"]]
    made = robbench.plot("margins", "ce", out=tmp_path)
    assert made.data.to_dict("records") == done.json["rows"]
    assert (done.json["caption"], done.json["figure"]) == (made.caption, "m.svg")


def test_what_is_wrong_is_one_line(cli, stored, tmp_path):
    """Exit 2."""
    stored("aaaa11111111")
    stored("bbbb11111111", threat="l2:0.5", norm="l2", eps=0.5)
    for words, said in (
        ("plot curves", "one figure has one norm"),
        ("plot spectrum", "run robbench measure aaaa11111111 bbbb11111111 --out"),
        ("plot curves -o runs", "is no name of a figure"),
        ("plot", "Missing argument 'KIND'"),
    ):
        done = cli(words, "--out", tmp_path, cwd=tmp_path)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
        assert said in done.err


def test_what_speaks_against_a_run_is_said(cli, stored, make_samples, tmp_path):
    """Unfinished samples, and a row that contradicts its samples: the figure has the latter."""
    rows = make_samples(50, 1)
    for row in rows[:5]:
        row["status"] = 3
    stored("aaaa11111111", rows, robust_accuracy=0.99)
    done = cli("plot curves --json --out", tmp_path, cwd=tmp_path)
    assert "warning: ce, linf:0.15: 5 samples unfinished" in done.err
    assert (
        "warning: ce, linf:0.15: edited: the row of the run claims robust accuracy 99.0%"
        in done.err
    )
    assert len(done.json["warnings"]) == 2
    share = sum(row["robust"] for row in rows) / 50
    assert done.json["rows"][-1]["robust_accuracy"] == share


def test_it_starts_without_torch_and_pandas(spawn, stored, tmp_path):
    """Only tables are read."""
    stored("aaaa11111111")
    code = """
import sys
from robbench.cli.app import run
code = run(sys.argv[1:])
large = {"torch", "pandas", "scipy", "sklearn", "matplotlib.pyplot"}
print("heavy", sorted(large & {*sys.modules}))
sys.exit(code)
"""
    words = ("plot", "curves", "-o", tmp_path / "c.svg", "--out", tmp_path)
    done = spawn(*words, code=code)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "heavy []"


def test_one_file_is_not_both(cli, stored, tmp_path):
    """The numbers would replace the figure."""
    stored("aaaa11111111")
    done = cli("plot curves -o a.pdf --csv x/../a.pdf --out", tmp_path, cwd=tmp_path)
    assert (done.code, done.err) == (
        2,
        "error: a.pdf cannot hold two results: name two files\n",
    )
    assert not (tmp_path / "a.pdf").exists()


def test_the_cost_of_a_curve_warns(cli, stored, tmp_path):
    """Beside what speaks against the run itself."""
    stored("aaaa11111111", config='{"threat": ["linf:0.05,0.15"]}')
    done = cli("plot cost -o cost.png --json --out", tmp_path, cwd=tmp_path)
    assert done.code == 0, done.err
    (text,) = done.json["warnings"]
    assert "smaller budgets of its run (0.05)" in text
    assert f"warning: {text}" in done.err
