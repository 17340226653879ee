"""Checking runs and models of a store, and what comes by itself after an attack."""

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

from robbench.catalogue.cascades import expand
from robbench.checks.registry import CHECKS
from robbench.core import lock
from robbench.store.store import Store
from robbench.tasks.check import AFTER_SHARE, SLICE

PGD = "--attack pgd:steps=20 --threat linf:0.15"


@pytest.fixture(scope="module")
def checked(trained: Path, cli, tmp_path_factory) -> Path:
    """A store with a run of 150 samples and stored points, and the checks that came with it. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("checked") / "S")
    done = cli(f"attack at {PGD} --attack square:steps=20 --limit 150 --store-points --out", out)
    assert done.code == 0, done.err
    return out


@pytest.fixture
def mine(checked: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return shutil.copytree(checked, tmp_path / "S")


def table(out: Path, kind: str) -> list[dict]:
    """The rows of the newest file of a table."""
    path = max((out / "results" / kind).glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns)
    return pq.read_table(path).to_pylist()


def by_name(rows: list[dict]) -> dict[str, dict]:
    return {row["check"]: row for row in rows}


def test_every_attack_leaves_its_automatic_checks(checked: Path, rows_of) -> None:
    """Named after the run, with what is free looked at in all samples and the rest in 64, none of it costly."""
    run = table(checked, "runs")[0]
    rows = Store(checked).checks(run["run_id"])
    assert {row["run_id"] for row in rows} == {row["subject"] for row in rows} == {run["run_id"]}
    assert all(row["automatic"] for row in rows)
    found = by_name(rows)
    assert found["black-box-only"]["n_samples"] == 150
    assert found["constraints"]["n_samples"] == found["random"]["n_samples"] == 64
    assert found["constraints"]["verdict"] == found["random"]["verdict"] == "pass"
    assert not found.keys() & {"black-box", "transfer", "restarts", "labels-only"}
    spent = sum(row["n_forward"] + row["n_backward"] for row in rows)
    assert 0 < spent <= AFTER_SHARE * (run["n_forward"] + run["n_backward"])


def test_what_is_spent_after_an_attack_is_a_tenth_of_autoattack(store: Path, cli) -> None:
    """On the same samples: a run of the first two attacks of the cascade costs less than all of it."""
    first = " ".join(f"--attack {spec}" for spec in expand("autoattack", "linf")[:1])
    assert cli(f"attack at ce {first} --threat linf:0.15 --limit 40 --quiet --out", store).code == 0
    for run in (
        row
        for path in (store / "results" / "runs").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ):
        rows = Store(store).checks(run["run_id"])
        spent = sum(row["n_forward"] + row["n_backward"] for row in rows)
        assert spent <= 0.1 * (run["n_forward"] + run["n_backward"])


def test_verdicts_and_their_cost_are_what_they_are_without_checks(
    store: Path, cli, monkeypatch, rows_of, tmp_path: Path
) -> None:
    """The sample rows are equal with the checks and with the checks taken out."""
    other = shutil.copytree(store, tmp_path / "T")
    assert cli(f"attack ce {PGD} --limit 80 --quiet --out", store).code == 0
    monkeypatch.setattr(
        "robbench.tasks.attack.run.check_after", lambda plan, runs, store, **how: [[] for _ in runs]
    )
    assert cli(f"attack ce {PGD} --limit 80 --quiet --out", other).code == 0
    assert not (other / "results" / "checks").exists()
    assert table(store, "samples") == table(other, "samples")


def test_a_tiny_run_is_not_asked_anything(store: Path, cli) -> None:
    """A few samples under one step: all that is left is what the rows say."""
    assert (
        cli("attack ce --attack fgsm --threat linf:0.15 --limit 12 --quiet --out", store).code == 0
    )
    rows = table(store, "checks")
    assert sum(row["n_forward"] + row["n_backward"] for row in rows) <= 12
    assert by_name(rows)["unfinished"]["verdict"] == "pass"


def test_several_budgets_pay_once(store: Path, cli) -> None:
    """Only the largest budget's run asks the model; each has its own file."""
    assert (
        cli(
            "attack at --attack pgd:steps=20 --threat linf:0.05,0.1,0.2 --limit 60 --quiet --out",
            store,
        ).code
        == 0
    )
    runs = [
        row
        for path in (store / "results" / "runs").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    spent = {
        run["eps"]: sum(row["n_forward"] for row in Store(store).checks(run["run_id"]))
        for run in runs
    }
    assert spent[0.05] == spent[0.1] == 0 < spent[0.2]


def test_a_failed_check_is_told_with_the_run_and_again_when_it_is_found_done(
    store: Path, cli
) -> None:
    """Ten steps too short to get anywhere: successes come at the very end; what flags say already is not said twice."""
    line = "attack ce --attack pgd:steps=10,rate=0.03 --threat linf:0.2 --limit 150 --out"
    first, again = cli(line, store), cli(line, store)
    assert "check late-successes:" in first.err, first.err
    assert "check late-successes:" in again.err
    assert "check black-box-tried" not in first.err  # only informs


# -- robbench check


def test_check_of_a_model_with_runs_takes_its_latest_run(mine: Path, cli) -> None:
    """Every registered check, on the run's samples, replacing what came by itself."""
    done = cli("check at --limit 24 --json --out", mine)
    assert done.code == 0, done.err + done.out
    run = table(mine, "runs")[0]
    assert done.json["subject"] == run["run_id"]
    assert [row["check"] for row in done.json["rows"]] != []
    assert set(by_name(done.json["rows"])) == {check.name for check in CHECKS}
    assert not any(row["automatic"] for row in table(mine, "checks"))
    found = by_name(done.json["rows"])
    assert found["constraints"]["verdict"] == found["reproduced"]["verdict"] == "pass"
    assert found["transfer"]["verdict"] == "pass"  # from a model trained for it
    assert found["unfinished"]["n_samples"] == 150
    assert found["transfer"]["n_samples"] == 24


def test_a_run_id_a_prefix_and_a_file_are_the_same_run(mine: Path, cli) -> None:
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


def test_a_check_waits_for_who_works_on_the_run(mine: Path, cli, monkeypatch) -> None:
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


def test_check_of_a_model_alone(mine: Path, cli) -> None:
    """With a threat of its own: no rows, filed under what the model is, 200 samples unless told otherwise."""
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


def test_a_model_that_only_looks_robust_is_an_error(store: Path, cli, private) -> None:
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
        ("check --self-test at", "alone"),
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


def test_a_run_of_a_model_that_has_changed_is_refused(mine: Path, cli) -> None:
    """Trained anew under the same name: the rows are about another model."""
    run_id = table(mine, "runs")[0]["run_id"]
    shutil.rmtree(mine / "models" / "at")
    gone = cli("check", run_id, "--out", mine)
    assert gone.code == 2
    assert "cannot be had" in gone.err
    assert cli("train --data digits --limit 200 --epochs 1 --name at --quiet --out", mine).code == 0
    changed = cli("check", run_id, "--out", mine)
    assert (changed.code, changed.err.count("\n")) == (2, 1)
    assert "has changed" in changed.err


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
