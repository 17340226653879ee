"""A suggestion from real runs, its price and its file held against an attack with it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robbench
from robbench.analysis.tried import BROKE, COLUMNS, FAILED, UNKNOWN, lists_of, tried
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.cascade import price, suggest_cascade

pytestmark = pytest.mark.usefixtures("one_thread")

ATTACKS_RUN = ["square:steps=60", "apgd-t:steps=5,targets=4", "pma:steps=6", "apgd:steps=10"]


@pytest.fixture(scope="module")
def out(trained: Path, cli: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models under four attacks, each alone on 120 samples."""
    folder: Path = tmp_path_factory.mktemp("suggest") / "S"
    (folder / "models").mkdir(parents=True)
    for name in ("ce", "at"):
        (folder / "models" / name).symlink_to(trained / "models" / name)
    for spec in ATTACKS_RUN:
        done = cli(
            "attack ce at --threat linf:0.12 --limit 80 --quiet --attack", spec, "--out", folder
        )
        assert done.code == 0, done.err
    return folder


@pytest.mark.parametrize("spec", ATTACKS_RUN)
def test_a_price_is_what_a_run_has_paid(out: Path, spec: str) -> None:
    """Of every sample, broken or not, beside two looks: the clean input, and the point again."""
    short = ATTACKS.canonical(spec)
    rows = robbench.load_runs(out=out, table="samples")
    runs = robbench.load_runs(out=out)
    ids = runs[
        [json.loads(text) == [ATTACKS.canonical(spec, full=True)] for text in runs["attack_params"]]
    ]
    mine = rows[rows["run_id"].isin(ids["run_id"]) & rows["clean_correct"]]
    assert len(mine) > 80
    known = price(ATTACKS.build(spec), 10)  # type: ignore[arg-type]
    for row in mine.to_dict("records"):
        if row["adversarial"]:
            assert row["broken_by"] == short
            expected = known.queries(int(row["broken_variant"]), int(row["first_success_step"]))
        else:
            expected = known.whole
        assert (row["n_forward"] - 2, row["n_backward"]) == tuple(map(int, expected))


def test_the_file_is_a_cascade_that_does_what_was_said(
    out: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    """Attacked with it, each model's robust accuracy and queries are about those foretold.

    Not to the digit: a cut attack has other random numbers than the whole one.
    """
    file = tmp_path / "mine.toml"
    out = shutil.copytree(out, tmp_path / "S", symlinks=True)
    made = suggest_cascade([], out, file=file)
    text = file.read_text()
    assert tomllib.loads(text) == {"attacks": list(made.found.attacks)}
    assert all(run.info["run_id"] in text for run in made.runs)
    assert made.command.startswith(f"robbench attack MODEL --attack {file} --threat linf:0.12")
    assert made.command.endswith("--audit 300")
    words = made.command.replace("MODEL", "ce at").replace("300", "3 --audit-attack apgd:steps=50")
    words = words.removeprefix("robbench ")
    done = cli(words, "--limit", "80", "--quiet", "--json", "--out", out)
    assert done.code == 0, done.err
    runs = robbench.load_runs(out=out)
    mine = runs[runs["attack"] == str(file)]
    assert len(mine) == 2
    rows = robbench.load_runs(list(mine["run_id"]), out=out, table="samples")
    own = rows["robust"] | rows["audited"].fillna(value=False).astype(bool)
    assert own.mean() == pytest.approx(made.found.it.robust_accuracy, abs=0.08)


def test_judged_on_samples_that_did_not_choose(out: Path) -> None:
    """Half of the samples of both models each; the suggestion is close to all runs together."""
    found = suggest_cascade([], out).found
    assert found.chosen_on == found.judged_on == 80
    assert found.union.robust_accuracy <= found.it.robust_accuracy
    assert found.missed == round(80 * (found.it.robust_accuracy - found.union.robust_accuracy))
    assert {one.name for one in found.originals} == {*map(ATTACKS.canonical, ATTACKS_RUN)}
    assert all(one.seen == one.of for one in found.candidates)
    assert found.it.sample is not None
    assert np.isfinite(found.it.sample).all()


def test_a_limit_and_a_condition(out: Path) -> None:
    """`max_queries` bounds the sum of forwards and backwards; `where` chooses runs."""
    made = suggest_cascade([], out, max_queries=30, where=["model=at"])
    assert sum(one.forward + one.backward for one in made.found.entries) <= 30
    assert {run.info["model"] for run in made.runs} == {"at"}
    with pytest.raises(UserError, match=r"cheapest, square:steps=1, takes 2"):
        suggest_cascade([], out, max_queries=1)


def test_a_file_that_exists_is_kept(out: Path, tmp_path: Path) -> None:
    """Unless forced; and nothing is written where a suggestion fails."""
    file = tmp_path / "mine.toml"
    file.write_text("mine")
    with pytest.raises(UserError, match="exists: choose another name"):
        suggest_cascade([], out, file=file)
    with pytest.raises(UserError, match="takes 2"):
        suggest_cascade([], out, file=file, max_queries=1, force=True)
    assert file.read_text() == "mine"
    suggest_cascade([], out, file=file, force=True)
    assert tomllib.loads(file.read_text())["attacks"]


def test_one_attack_is_nothing_to_choose_from(
    out: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    """APGD cannot be cut: a shorter one is another attack."""
    with pytest.raises(UserError, match="1 attack to choose from"):
        suggest_cascade([], out, where=["attack=apgd:steps=10"])
    assert suggest_cascade([], out, where=["attack=square:steps=60"]).found.attacks


def test_real_audits_and_budgets(out: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    """What is known of each pair is what the rows of such runs say."""
    out = shutil.copytree(out, tmp_path / "S", symlinks=True)
    shutil.rmtree(out / "results")
    line = (
        "attack ce --attack noise:steps=3 --audit 12 --audit-attack apgd:steps=9 --limit 60 "
        "--threat linf:0.06,0.12 --quiet --out"
    )
    done = cli(line, out)
    assert done.code == 0, done.err
    runs = [read_run(path, COLUMNS) for path in Store(out).find([])]
    full = [spec for part in lists_of(runs[0].info) for spec in part]
    known = tried(runs, {spec: ATTACKS.canonical(spec) for spec in full})
    small, large = (
        robbench.load_runs(run.info["run_id"], out=out, table="samples") for run in runs
    )
    again = large[~(small["adversarial"] & small["clean_correct"])]
    rows = [*small.to_dict("records"), *again.to_dict("records")]
    assert known.left_out == len(large) - len(again) > 0
    found = sorted(zip(known.sample_id.tolist(), map(tuple, known.state.tolist()), strict=True))
    assert found == sorted((row["sample_id"], _states(row)) for row in rows)
    assert {states for _, states in found} >= {(BROKE, UNKNOWN), (FAILED, FAILED)}
    assert any(row["audited"] and row["adversarial"] for row in rows)


def _states(row: Any) -> tuple[int, int]:
    """Of the run's attack and the audit's, from a row."""
    if not row["clean_correct"]:
        return UNKNOWN, UNKNOWN
    if not row["audited"]:
        return (BROKE if row["adversarial"] else FAILED), UNKNOWN
    return FAILED, (BROKE if row["adversarial"] else FAILED)
