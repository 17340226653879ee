"""Comparisons against plain Python loops, and their forms for machines."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from robbench.analysis.compare import COLUMNS, compare
from robbench.core.errors import UserError
from robbench.reports.formats import to_csv, to_json, to_markdown
from robbench.store.run import Run, read_run
from robbench.store.store import Store

Stored = Callable[..., Run]
UNPAIRED = ("baseline", "n_common", "robust_difference", "won", "lost", "mcnemar_p", "p_holm")


def test_paired_numbers_against_a_plain_loop(
    stored: Stored, make_samples: Callable[..., Any]
) -> None:
    """Won, lost, difference and p equal a dictionary join and scipy, runs partly overlapping."""
    base, new = make_samples(200, 1, 0.7), make_samples(180, 2, 0.4, first=50)
    order = np.random.default_rng(0).permutation(180)
    for row, index in zip(new, order, strict=True):
        row["sample_index"] = int(index)
    first, second = compare([stored("aaaa", base), stored("bbbb", new, model="sovr")])
    verdict = {row["sample_id"]: row["robust"] for row in base}
    common = [
        (verdict[row["sample_id"]], row["robust"]) for row in new if row["sample_id"] in verdict
    ]
    won, lost = common.count((False, True)), common.count((True, False))
    assert (second["baseline"], second["n_common"], second["won"], second["lost"]) == (
        "aaaa",
        150,
        won,
        lost,
    )
    assert second["robust_difference"] == pytest.approx(sum(b - a for a, b in common) / 150)
    assert second["mcnemar_p"] == pytest.approx(binomtest(won, won + lost).pvalue)
    assert second["note"] == "paired on the 150 samples in common of 180 and 200"
    assert [first[name] for name in UNPAIRED] == [None] * len(UNPAIRED)
    assert first["note"] == "baseline"


def test_everything_is_recomputed_from_the_samples(stored: Stored) -> None:
    """A summary that was tampered with changes no number, and is named."""
    run = stored("aaaa")
    lies = {
        name: -1
        for name, value in run.info.items()
        if isinstance(value, (int, float)) and name not in ("eps", "wall_s", "seed")
    }
    (row,) = compare([Run({**run.info, **lies}, run.samples)])
    assert [flag["name"] for flag in row.pop("flags")] == ["edited"]
    (honest,) = compare([run])
    assert honest.pop("flags") == []
    assert row == honest


def test_cost_per_sample(stored: Stored, make_samples: Callable[..., Any]) -> None:
    """Queries are totals, and forwards per sample their mean."""
    rows = make_samples(10)
    row = compare([stored("aaaa", rows)])[0]
    assert row["n_forward"] == sum(sample["n_forward"] for sample in rows)
    assert row["n_forward_per_sample"] == row["n_forward"] / 10
    assert row["wall_s"] == 1.5


def test_pairs_are_of_one_data_set_split_and_threat(stored: Stored) -> None:
    """The baseline is the first run of equal data, split and threat; else a note says why not."""
    runs = [
        stored("aaaa"),
        stored("bbbb", data="mnist", data_hash="y"),
        stored("cccc", split="train", data_hash="z"),
        stored("dddd", eps=0.3, threat="linf:0.3"),
        stored("eeee", eps=0.3, threat="linf:0.30"),
        stored("ffff", norm="l2", threat="l2:0.15"),
        stored("0000"),
    ]
    rows = compare(runs)
    assert [row["baseline"] for row in rows] == [None, None, None, None, "dddd", None, "aaaa"]
    assert [row["note"] for row in rows[:2]] == [
        "baseline",
        "nothing to pair: no other run has this data, split and threat",
    ]
    assert rows[-1]["note"] is None


def test_no_sample_in_common(stored: Stored, make_samples: Callable[..., Any]) -> None:
    """Disjoint subsets cannot be paired, and the row says so."""
    rows = compare([stored("aaaa", make_samples(5)), stored("bbbb", make_samples(5, first=50))])
    assert rows[1]["note"] == "nothing to pair: no sample in common with aaaa"
    assert [rows[1][name] for name in UNPAIRED] == [None] * len(UNPAIRED)


def test_different_attacks_are_noted(stored: Stored) -> None:
    """A pair under different attacks is shown, with the warning that it is one."""
    row = compare([stored("aaaa"), stored("bbbb", attack="fgsm")])[1]
    assert (row["robust_difference"], row["mcnemar_p"]) == (0.0, 1.0)
    assert row["note"] == "the baseline was attacked by pgd:steps=10"


def test_nothing_to_compare() -> None:
    """No runs is bad input."""
    with pytest.raises(UserError):
        compare([])


def test_json_is_strict_and_has_a_schema(stored: Stored, make_samples: Callable[..., Any]) -> None:
    """One object that any JSON reader takes: NaN and infinity are null."""
    broken = [{**row, "adv_margin": float("nan")} for row in make_samples()]
    rows = compare([stored("aaaa"), stored("bbbb", broken)])
    read = json.loads(
        to_json([*rows, {**rows[0], "wall_s": float("inf")}]), parse_constant=pytest.fail
    )
    assert read["schema"] == "robbench.compare/1"
    assert read["rows"][0] == rows[0]
    assert read["rows"][1]["adv_margin_mean"] is None
    assert read["rows"][2]["wall_s"] is None


def test_csv_reads_back(stored: Stored) -> None:
    """All columns, a line per run, commas in attack names quoted, None empty."""
    rows = compare([stored("aaaa", attack="pgd:steps=1,rate=0.1 + fab"), stored("bbbb")])
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [line["attack"] for line in read] == ["pgd:steps=1,rate=0.1 + fab", "pgd:steps=10"]
    assert list(read[0]) == list(rows[0])
    assert read[0]["mcnemar_p"] == ""
    assert float(read[1]["robust_accuracy"]) == rows[1]["robust_accuracy"]
    assert to_csv([]).strip() == ""


def test_markdown_is_one_table(stored: Stored) -> None:
    """Every line has the same number of cells, whatever a name contains."""
    text = to_markdown(compare([stored("aaaa", model="a|b"), stored("bbbb")]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "adversarial ratio: share of samples" in text


def test_a_comparison_never_loads_torch_or_pandas(tmp_path: Path, stored: Stored) -> None:
    """Compare starts at once: a fresh process loads no heavy library."""
    stored("aaaa")
    stored("bbbb")
    code = """
import sys
from robbench.reports.terminal.compare import comparison_table
from robbench.analysis.compare import COLUMNS, compare
from robbench.reports.formats import to_csv, to_json, to_markdown
from robbench.store.run import read_run
from robbench.store.store import Store
import robbench.store.provenance
rows = compare([read_run(path, COLUMNS) for path in Store(sys.argv[1]).find()])
comparison_table(rows), to_json(rows), to_csv(rows), to_markdown(rows)
print(*(name for name in ("torch", "pandas", "scipy", "sklearn") if name in sys.modules))
"""
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == ""


def test_only_the_needed_columns_are_enough(tmp_path: Path, stored: Stored) -> None:
    """The columns named for reading give the same comparison as all of them."""
    whole = [stored("aaaa"), stored("bbbb")]
    assert compare(
        [read_run(path, COLUMNS) for path in Store(tmp_path).find(["aaaa", "bbbb"])]
    ) == compare(whole)
