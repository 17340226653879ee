"""`robbench compare`: names of runs, and one set of numbers in every format."""

from __future__ import annotations

import csv
import io
import re


def test_every_format_says_the_same(cli, attacked):
    """--json, --csv, --markdown and the table have the same rows and the same numbers."""
    formats = {
        flag: cli("compare", "ce", "at", "--out", attacked, *flag)
        for flag in ((), ("--json",), ("--csv",), ("--markdown",))
    }
    assert all(done.code == 0 and done.err == "" for done in formats.values())
    rows = formats[("--json",)].json["rows"]
    table = list(csv.DictReader(io.StringIO(formats[("--csv",)].out)))
    assert len(table) == len(rows) == 2
    for row, line in zip(rows, table, strict=True):
        assert list(row) == list(line)
        for key, value in row.items():
            assert line[key] == ("" if value is None else str(value)), key
        shown = [f"{100 * row['clean_accuracy']:.1f}%", f"{100 * row['robust_accuracy']:.1f}%"]
        below_the_answer = formats[()].out.partition("\n\n")[2]
        for text in (formats[("--markdown",)].out, below_the_answer):
            (found,) = [
                part
                for part in text.splitlines()
                if re.match(rf"\|? ?(\*\*)?{row['model']} ", part)
            ]
            assert all(number in found for number in shown)


def test_two_formats_are_too_many(cli, attacked):
    """Asking for two formats is exit 2."""
    done = cli("compare", "--out", attacked, "--json", "--csv")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_compare_takes_names_ids_and_paths(cli, attacked):
    """A model's name, a run id, its first letters, a run's files and nothing mean the same runs."""
    rows = cli("compare", "--out", attacked, "--json").json["rows"]
    assert len(rows) == 2
    run = rows[0]["run_id"]
    files = [attacked / "results" / kind / f"{run}.parquet" for kind in ("runs", "samples")]
    for name in (rows[0]["model"], run, run[:6], *files):
        found = cli("compare", name, "--out", attacked, "--json").json["rows"]
        assert [row["run_id"] for row in found] == [run], name
        assert found[0]["robust_accuracy"] == rows[0]["robust_accuracy"]
