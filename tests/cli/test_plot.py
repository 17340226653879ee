"""`robbench plot`: the caption on stdout, files where they were asked for, one line where something is wrong."""

from __future__ import annotations

import csv

import robbench


def test_the_command_says_where_and_what(cli, stored, tmp_path):
    """The figure lies in the working folder by default; the result is its caption; nothing else is on stdout."""
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
        ("plot spectrum", "run robbench measure ce"),
        ("plot curves -o runs", "is no name of a figure"),
        ("plot", "Missing argument 'KIND'"),
    ):
        done = cli(words, "--out", tmp_path, cwd=tmp_path)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
        assert said in done.err
