"""Figures of runs and models that names mean; what is refused costs nothing that was there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.store.epochs import read_epochs
from robbench.store.measured import Measure, write_measures
from robbench.store.run import read_run
from robbench.tasks.plot import KINDS, plot


@pytest.fixture
def runs(stored, tmp_path) -> Path:
    """Two recipes with two seeds each; each run has singular values."""
    for i, (loss, seed) in enumerate([("ce", 0), ("ce", 1), ("trades", 0), ("trades", 1)]):
        run_id = f"{'abcd'[i] * 4}11111111"
        recipe = json.dumps({"loss": loss, "seed": seed})
        stored(
            run_id,
            model=f"{loss}-s{seed}",
            loss=loss,
            train_seed=seed,
            train_config=recipe,
            model_hash=f"h{i}",
        )
        values = {"singular_values": [1.0, 0.5 / (i + 1)]}
        path = tmp_path / "results" / "runs" / f"{run_id}.parquet"
        write_measures(path, [Measure("numerical_rank", "clean", "test", 2.0, values)])
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "lines"), [("curves", 4), ("margins", 4), ("spectrum", 4), ("cost", 4)]
)
def test_a_line_for_each_run_and_one_for_its_seeds(runs, kind, lines):
    """All of the store; over seeds a line per recipe with a band."""
    made = plot(kind, [], runs)
    assert made.data["line"].nunique() == lines
    over = plot(kind, [], runs, over_seeds=True)
    assert list(dict.fromkeys(over.data["line"])) == ["ce (2 seeds)", "trades (2 seeds)"]
    assert set(over.data["n_seeds"]) == {2}
    assert over.data["low"].notna().all()


def test_numbers_are_the_runs_own(runs):
    """What a curve shows at a budget is what the run says."""
    data = plot("curves", ["ce-s0"], runs).data
    info = read_run(runs / "results" / "runs" / "aaaa11111111.parquet").info
    assert data["robust_accuracy"].tolist() == [info["clean_accuracy"], info["robust_accuracy"]]
    assert data["low"].tolist() == [info["clean_accuracy_low"], info["robust_accuracy_low"]]


def test_where_chooses(runs):
    """Runs of which it holds."""
    assert set(plot("cost", [], runs, where=["loss=trades"]).data["line"]) == {
        "trades-s0",
        "trades-s1",
    }


def test_trainings_need_no_attack(trained):
    """By name or pattern, or all; numbers are the epochs'."""
    data = plot("training", ["c*"], trained).data
    epochs = read_epochs(trained / "models" / "ce" / "epochs.parquet")
    loss = data[data["quantity"] == "training loss"]
    assert loss["value"].tolist() == [row["train_loss"] for row in epochs]
    assert loss["epoch"].tolist() == [1, 2]
    assert set(plot("training", [], trained).data["line"]) == {"ce", "at"}


def test_files_are_written(runs, tmp_path):
    """The figure and its numbers, into folders that are made."""
    figure, csv = tmp_path / "new" / "f.svg", tmp_path / "new" / "f.csv"
    plot("curves", [], runs, figure=figure, csv=csv)
    assert figure.read_bytes().startswith(b"<?xml")
    assert csv.read_text().startswith("line,eps,robust_accuracy,low,high,n_samples\n")


@pytest.mark.parametrize(
    ("kind", "names", "more", "said"),
    [
        ("curve", [], {}, "unknown figure 'curve'; did you mean curves"),
        ("curves", ["nobody"], {}, "unknown model, run or path 'nobody'"),
        ("curves", [], {"where": ["threat=x"]}, "no run has threat=x"),
        ("curves", [], {"figure": Path("f.gif")}, "ends in .pdf, .svg, .png or .pgf"),
        ("curves", [], {"width": 0.1}, "1 to 40 inches wide, not 0.1"),
        ("curves", [], {"width": float("inf")}, "1 to 40 inches wide, not inf"),
        ("training", [], {}, "no epochs in .*run robbench train first"),
        ("training", [], {"where": ["a=b"]}, "training is of models"),
    ],
)
def test_bad_input(runs, tmp_path, kind, names, more, said):
    """One line, and nothing is written."""
    old = tmp_path / "old.csv"
    old.write_text("old")
    with pytest.raises(UserError, match=said):
        plot(kind, names, runs, **{"csv": old, "figure": tmp_path / "f.pdf"} | more)
    assert old.read_text() == "old"
    assert not (tmp_path / "f.pdf").exists()


def test_what_is_not_drawn_is_said(stored, make_samples, tmp_path):
    """An attack that shows no margins; where no model has any there is no figure."""
    rows = [row | {"adv_margin": None} for row in make_samples()]
    stored("aaaa", rows)
    assert plot("margins", [], tmp_path).warnings == [
        "ce: nothing to draw of worst, where no margin is known"
    ]
    stored("bbbb", [row | {"clean_margin": float("inf")} for row in rows], age=1)
    with pytest.raises(UserError, match="nothing to draw: no share of these runs is known"):
        plot("margins", ["bbbb"], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_matplotlib_is_an_extra(runs, kind, monkeypatch):
    """Without it one line says how to get it."""
    for name in [name for name in sys.modules if name.startswith("robbench.reports.figures.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'robbench\[figures\]'"):
        plot(kind, [], runs)
