"""The checks that come with every attack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from robbench.catalogue.cascades import expand
from robbench.store.store import Store
from robbench.tasks.check.after import AFTER_SHARE

PGD = "--attack pgd:steps=20 --threat linf:0.15"


def test_every_attack_leaves_its_automatic_checks(checked: Path, rows_of, table, by_name) -> None:
    """Named after the run: the free ones of all samples, the rest of 64, none of them costly."""
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
    """On the same samples, the first two attacks of the cascade cost less than all of it."""
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
    store: Path, cli, monkeypatch, rows_of, tmp_path: Path, table
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


def test_a_tiny_run_is_not_asked_anything(store: Path, cli, table, by_name) -> None:
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
    """Ten short steps: successes come at the very end; what flags say is not said twice."""
    line = "attack ce --attack pgd:steps=10,rate=0.03 --threat linf:0.2 --limit 150 --out"
    first, again = cli(line, store), cli(line, store)
    assert "check late-successes:" in first.err, first.err
    assert "check late-successes:" in again.err
    assert "check black-box-tried" not in first.err  # only informs
