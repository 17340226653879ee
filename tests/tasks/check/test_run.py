"""Checking runs and models of a store."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from robbench.checks.registry import CHECKS
from robbench.core import lock
from robbench.store.store import Store
from robbench.tasks.check.plan import SLICE
from robbench.tasks.check.run import Checked

PGD = "--attack pgd:steps=20 --threat linf:0.15"


def test_check_of_a_model_with_runs_takes_its_latest_run(mine: Path, cli, table, by_name) -> None:
    """Every registered check, on the run's samples, replacing what came by itself.

    A later run under a corruption is no attack: it is passed over.
    """
    run = table(mine, "runs")[0]
    assert cli("attack at --threat corruption:fog@1 --limit 5 --out", mine).code == 0
    done = cli("check at --limit 24 --json --out", mine)
    assert done.code == 0, done.err + done.out
    assert done.json["subject"] == run["run_id"]
    assert [row["check"] for row in done.json["rows"]] != []
    assert set(by_name(done.json["rows"])) == {check.name for check in CHECKS}
    assert not any(row["automatic"] for row in table(mine, "checks"))
    found = by_name(done.json["rows"])
    assert found["constraints"]["verdict"] == found["reproduced"]["verdict"] == "pass"
    assert found["transfer"]["verdict"] == "pass"  # from a model trained for it
    assert found["unfinished"]["n_samples"] == 150
    assert found["transfer"]["n_samples"] == 24


@pytest.mark.slow
def test_a_run_id_a_prefix_and_a_file_are_the_same_run(mine: Path, cli, table) -> None:
    """However it is named; the figures agree, as all random numbers are keyed."""
    run_id = table(mine, "runs")[0]["run_id"]
    answers = [
        cli("check --limit 8 --source ce --json --out", mine, name).json["rows"]
        for name in (run_id, run_id[:6], mine / "results" / "runs" / f"{run_id}.parquet")
    ]
    figures = [
        [(row["check"], row["figure"], row["verdict"], row["evidence"]) for row in rows]
        for rows in answers
    ]
    assert figures[0] == figures[1] == figures[2]


@pytest.mark.slow
def test_a_check_waits_for_who_works_on_the_run(mine: Path, cli, monkeypatch, table) -> None:
    """Two of them do not write one table at once; the second says for whom it waits."""
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
    run_id = table(mine, "runs")[0]["run_id"]
    path = mine / "results" / "checks" / f"{run_id}.parquet"
    before, held = path.read_bytes(), contextlib.ExitStack()
    held.enter_context(Store(mine).locked([run_id], say=pytest.fail))
    seen = []

    def free(seconds: float) -> None:
        seen.append(path.read_bytes() == before)
        held.close()

    monkeypatch.setattr(lock.time, "sleep", free)
    done = cli(f"check {run_id} --limit 4 --out", mine)
    assert done.code in (0, 1), done.err
    assert seen == [True]
    assert f"run {run_id}: process {os.getpid()} on " in done.err
    assert path.read_bytes() != before
    assert list((mine / "results" / "locks").iterdir()) == []


def test_check_of_a_model_alone(mine: Path, cli, by_name) -> None:
    """With a threat of its own: no rows, filed under what the model is, of 200 samples at most."""
    done = cli("check at --threat linf:0.1 --source ce --json --limit 30 --out", mine)
    assert done.code == 0, done.err + done.out
    assert done.json["subject"].startswith("model-")
    found = by_name(done.json["rows"])
    assert found["unfinished"]["verdict"] == "skipped"
    assert found["transfer"]["verdict"] == found["black-box"]["verdict"] == "pass"
    assert {row["n_samples"] for row in found.values()} == {30}
    assert {row["threat"] for row in found.values()} == {"linf:0.1"}
    assert SLICE == 200


def test_a_store_tampered_with_is_an_error(mine: Path, cli) -> None:
    """One stored point moved out of the budget: exit 1, and its sample is named."""
    path = next((mine / "results" / "points").glob("*.parquet"))
    stored = pq.read_table(path)
    rows = stored.to_pylist()
    first = pq.read_table(next((mine / "results" / "samples").glob("*.parquet"))).to_pylist()[0][
        "sample_id"
    ]
    row = next(row for row in rows if row["sample_id"] == first)
    row |= {"encoding": "f4", "delta": np.full(64, 0.2, "<f4").tobytes()}
    pq.write_table(pa.Table.from_pylist(rows, stored.schema), path)
    done = cli("check at --limit 10 --source ce --out", mine)
    assert done.code == 1, done.err
    assert "constraints" in done.out
    assert f"{first:016x}" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_row_that_claims_what_its_samples_do_not_say_is_an_error(mine: Path, cli) -> None:
    """Robust accuracy edited in the run's row: exit 1 though every check passes."""
    path = next((mine / "results" / "runs").glob("*.parquet"))
    stored = pq.read_table(path)
    counted = stored.to_pylist()[0]["robust_accuracy"]
    row = {**stored.to_pylist()[0], "robust_accuracy": 0.999}
    pq.write_table(pa.Table.from_pylist([row], stored.schema), path)
    done = cli("check at --limit 10 --source ce --out", mine)
    assert done.code == 1, done.err
    text = " ".join(done.out.split())
    assert f"claims robust accuracy 99.9% (its samples: {100 * counted:.1f}%)" in text
    found = cli("check at --limit 10 --source ce --json --out", mine)
    assert (found.code, len(found.json["edited"])) == (1, 1)
    assert not any(
        row["verdict"] == "fail" and row["severity"] == "error" for row in found.json["rows"]
    )


def test_a_model_that_only_looks_robust_is_an_error(store: Path, cli, private, by_name) -> None:
    """A private model that cuts the gradient: pgd sees nothing, the checks see that."""
    folder = private(
        "cutter",
        "import torch\nclass Cut(torch.nn.Module):\n"
        "    def __init__(self, m):\n        super().__init__()\n        self.m = m\n"
        "    def forward(self, x):\n        return self.m(x.detach())\n"
        "def make():\n    torch.manual_seed(0)\n"
        "    return Cut(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)))\n",
    )
    done = cli("check cutter:make --data digits --limit 40 --json --out", store, cwd=folder)
    assert done.code == 1, done.err
    found = by_name(done.json["rows"])
    assert found["no-gradient"]["verdict"] == "fail"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("check", "run id or a model"),
        ("check nobody", "is no run"),
        ("check nobody --threat linf:0.1", "unknown model"),
        ("check at --threat linf:0.1,0.2", "one threat model"),
        ("check at --threat linf:0", "budget"),
        ("check at --threat l2:inf", "budget"),
        ("check at --limit 0", "limit"),
        ("check at --source nobody", "nobody"),
        ("check at --split training", "train"),
        ("check /nowhere/x.parquet", "nowhere"),
        ("check mlp --model at", "'mlp' is none"),
        ("check at --model nobody", "nobody"),
        ("check --self-test at", "alone"),
        ("check --self-test --model at", "alone"),
        ("check --self-test --limit 3", "alone"),
        ("check mlp --data parquet:/nowhere", "nowhere"),
    ],
)
def test_bad_words(words: str, message: str, mine: Path, cli, snapshot) -> None:
    """Exit 2, one line that helps, nothing on disk changes."""
    before = snapshot(mine)
    done = cli(*shlex.split(words), "--out", mine)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert message in done.err
    assert snapshot(mine) == before


def test_a_run_of_a_model_that_has_changed_is_refused(mine: Path, cli, table) -> None:
    """Trained anew under the same name: the rows are about another model."""
    run_id = table(mine, "runs")[0]["run_id"]
    shutil.rmtree(mine / "models" / "at")
    gone = cli("check", run_id, "--out", mine)
    assert gone.code == 2
    assert "--model" in gone.err
    assert cli("train --data digits --limit 200 --epochs 1 --name at --quiet --out", mine).code == 0
    changed = cli("check", run_id, "--out", mine)
    assert (changed.code, changed.err.count("\n")) == (2, 1)
    assert "has changed" in changed.err


@pytest.mark.slow
def test_a_model_that_was_moved(mine: Path, cli, table, tmp_path: Path) -> None:
    """A reviewer has the run and the weights: the same checks; other weights are refused."""
    run_id = table(mine, "runs")[0]["run_id"]
    line = ("check", run_id, "--limit", "8", "--json", "--out", mine)
    before = cli(*line).json["rows"]
    moved = shutil.move(mine / "models" / "at", tmp_path / "moved")
    after = cli(*line, "--model", moved).json["rows"]
    assert [(row["check"], row["verdict"], row["figure"]) for row in after] == [
        (row["check"], row["verdict"], row["figure"]) for row in before
    ]
    other = cli(*line, "--model", "ce")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "has changed" in other.err


def test_a_damaged_run_is_not_taken_for_a_model(mine: Path, cli) -> None:
    """The model is there, but what its run said cannot be read."""
    next((mine / "results" / "runs").glob("*.parquet")).write_bytes(b"PAR1")
    done = cli("check at --out", mine)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "damaged" in done.err


def test_the_random_states_and_the_model_are_left_alone(mine: Path, cli) -> None:
    """A check is a look: torch's generator goes on where it was."""
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    before = json.loads((mine / "models" / "at" / "config.json").read_text())
    assert cli("check at --limit 8 --source ce --quiet --out", mine).code in (0, 1)
    assert torch.rand(2).tolist() == expected
    assert json.loads((mine / "models" / "at" / "config.json").read_text()) == before


@pytest.mark.parametrize(
    ("verdict", "severity", "failed"),
    [("fail", "error", True), ("fail", "warning", False), ("unclear", "error", False)],
)
def test_only_a_failed_check_of_severity_error_counts(
    verdict: str, severity: str, failed: bool, tmp_path: Path
) -> None:
    """Warnings and what is unclear are for the reader."""
    rows = [
        {"verdict": "pass", "severity": "error"},
        {"verdict": verdict, "severity": severity},
    ]
    assert Checked(None, rows, tmp_path).failed is failed
