"""How models under corruptions are written."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from robbench.reports.corrupted import by_corruption, groups, summary_columns, title, without


def row(model: str, mean: float, **changes: Any) -> dict[str, Any]:
    rates = {"mean": mean, "worst": mean - 0.2, "all": mean - 0.3}
    return {
        "model": model,
        "data": "digits",
        "split": "test",
        "n_samples": 50,
        "clean_accuracy": 0.95,
        "threats": [f"corruption:{name}@{n}" for name in ("fog", "snow") for n in (1, 5)],
        "worst_threat": "corruption:snow@5",
        "corruptions": {"fog": mean, "snow": mean - 0.1},
        "run_ids": [f"{model}{n}" for n in range(4)],
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        **{
            f"{name}_accuracy{end}": rate + by
            for name, rate in rates.items()
            for end, by in (("", 0), ("_low", -0.05), ("_high", 0.05))
        },
        **changes,
    }


FIRST = row("ce", 0.7)
SECOND = row("at", 0.8, difference=0.1, difference_low=0.04, difference_high=0.16)


def _cells(rows: list[dict[str, Any]], columns: Any) -> list[list[str]]:
    return [[each.text(one) for each in columns] for one in rows]


def test_a_row_has_mean_all_worst_and_the_difference_to_the_first():
    assert _cells([FIRST, SECOND], summary_columns([FIRST, SECOND])) == [
        ["ce", "95.0%", "70.0% 65.0-75.0", "40.0% 35.0-45.0", "50.0% snow@5", "-"],
        ["at", "95.0%", "80.0% 75.0-85.0", "50.0% 45.0-55.0", "60.0% snow@5", "+10.0 ± 6.0"],
    ]
    assert len(summary_columns([FIRST])) == 5
    assert title(FIRST) == "digits test, 2 corruptions at 2 severities each, 50 samples"
    odd = row("ce", 0.7, threats=FIRST["threats"][:3])
    assert title(odd) == "digits test, 3 threat models of corruptions, 50 samples"
    uneven = [f"corruption:{each}" for each in ("fog@1", "fog@2", "fog@3", "snow@1")]
    assert "4 threat models of corruptions" in title(row("ce", 0.7, threats=uneven))


def test_each_corruption_has_the_accuracy_of_each_model():
    assert _cells(*by_corruption([FIRST, SECOND])) == [
        ["fog", "70.0%", "80.0%"],
        ["snow", "60.0%", "70.0%"],
    ]


def test_tables_are_of_one_set_of_samples_and_leave_other_runs_to_others():
    other = row("ce", 0.7, data="mnist")
    assert [len(group) for group in groups([FIRST, other, SECOND])] == [2, 1]
    runs = [{"run_id": name} for name in ("ce0", "x", "at3")]
    assert without(runs, [FIRST, SECOND]) == [{"run_id": "x"}]


def test_command_writes_both_tables(cli, tmp_path):
    """In every form, beside what is under a ball; not with --columns."""
    base = "attack mlp:width=8,depth=1 --data digits --limit 20"
    threats = "--threat corruption:contrast@1,contrast@5 --threat linf:0"
    done = cli(f"{base} {threats} --out", tmp_path)
    assert "2 threat models of corruptions" in done.out
    assert done.out.count("digits test") == 2
    forms = ("", "--markdown", "--latex")
    shown, markdown, latex = (cli(f"compare --out {tmp_path} {more}") for more in forms)
    for out in (
        shown.out,
        markdown.out,
        latex.out.replace("\\ell_\\infty$, $\\varepsilon = ", "linf:"),
    ):
        assert "worst" in out
        assert re.search(r"\bcontrast\b", out)
        assert "linf:0" in out
        assert "corruption:contrast@1" not in out
    wide = cli(f"compare --out {tmp_path} --columns model,robust_accuracy")
    assert "corruption:contrast@1" in wide.out
    found = cli(f"compare --out {tmp_path} --json").json
    (one,) = found["corruptions"]
    rates = {r["threat"]: r["robust_accuracy"] for r in found["rows"]}
    pair = [rates[f"corruption:contrast@{n}"] for n in (1, 5)]
    assert one["mean_accuracy"] == pytest.approx(sum(pair) / 2)
    assert one["worst_accuracy"] == min(pair)
    assert one["run_ids"] == [r["run_id"] for r in found["rows"] if r["attack"] == "none"]
    flat = csv.DictReader(io.StringIO(cli(f"compare --out {tmp_path} --csv").out))
    for line in flat:
        said = line["corruptions_mean_accuracy"]
        assert said == ("" if line["attack"] != "none" else repr(one["mean_accuracy"]))
