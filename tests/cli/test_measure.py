"""`robbench measure`: what it prints and writes, what a second time does, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest

ESCAPE = "\x1b"
WITH_POINTS = (
    "attack at --attack apgd:steps=5 --threat linf:0.05,0.15 --limit 40 --store-points --json --out"
)
WITHOUT = "attack ce --attack fgsm --threat l2:0.5 --limit 40 --json --out"


@pytest.fixture(scope="module")
def runs(trained, cli, tmp_path_factory):
    """Two runs of `at` with points and one of `ce` without. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("measure") / "S")
    for line in (WITH_POINTS, WITHOUT):
        done = cli(line, out)
        assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def measured(runs, cli, tmp_path_factory):
    """The folder after everything was measured, and what was printed. Not to be written to."""
    out = shutil.copytree(runs, tmp_path_factory.mktemp("measured") / "S")
    done = cli("measure at ce --train-samples 100 --json --out", out)
    assert done.code == 0, done.err
    return out, done


@pytest.fixture
def own(runs, tmp_path):
    """A copy of the attacked folder to write to."""
    return shutil.copytree(runs, tmp_path / "S")


@pytest.fixture
def own_measured(measured, tmp_path):
    """A copy of the measured folder to write to."""
    return shutil.copytree(measured[0], tmp_path / "M")


def values(done, run=None, label=None):
    """Values by name, points and split, of one run and all classes."""
    rows = [
        row for row in done.json["rows"] if row["class"] == label and run in (None, row["run_id"])
    ]
    return {(row["name"], row["points"], row["split"]): row["value"] for row in rows}


def test_everything_is_measured_clean_and_worst(measured, cli):
    """Each run has its tables, JSON has their content, worst points agree with the run's rows."""
    out, done = measured
    assert done.json["schema"] == "robbench.measure/1"
    for path in (out / "results" / "runs").glob("*.parquet"):
        (info,) = pq.read_table(path).to_pylist()
        samples = pq.read_table(out / "results" / "samples" / path.name).to_pylist()
        mine = pq.read_table(out / "results" / "sample_measures" / path.name).to_pylist()
        rows = pq.read_table(out / "results" / "measures" / path.name).to_pylist()
        assert [row["sample_id"] for row in mine] == [row["sample_id"] for row in samples]
        found = values(done, info["run_id"])
        stored = {
            (r["name"], r["points"], r["split"]): r["value"] for r in rows if r["class"] is None
        }
        assert stored == found
        assert found["accuracy", "clean", "test"] == pytest.approx(info["clean_accuracy"])
        assert found["logit_margin_mean", "clean", "test"] == pytest.approx(
            info["clean_margin_mean"], rel=1e-5
        )
        norm = {"linf": "l1", "l2": "l2"}[info["norm"]]
        flips = [
            s["clean_margin"] <= info["eps"] * m[f"clean_margin_gradient_{norm}"]
            for s, m in zip(samples, mine, strict=True)
        ]
        assert found["flip_share", "clean", "test"] == pytest.approx(sum(flips) / 40)
        assert found["svm_ratio", "clean", "train"] <= 1
        if info["model"] == "at":
            assert found["accuracy", "worst", "test"] == pytest.approx(info["robust_accuracy"])
            assert found["logit_margin_mean", "worst", "test"] == pytest.approx(
                info["adv_margin_mean"], abs=1e-3
            )
            assert found["local_linearity", "worst", "test"] > 0
            assert all(m["worst_feature_margin"] is not None for m in mine)
        # The budget of each run lies on the security curve.
        curve = next(
            json.loads(r["detail"]) for r in rows if r["name"] == f"security_curve_{info['norm']}"
        )
        at = max(i for i, eps in enumerate(curve["eps"]) if eps <= info["eps"])
        assert curve["robust_accuracy"][at] == pytest.approx(info["robust_accuracy"])
        assert curve["end"] == info["eps"] or info["eps"] == 0.05


def test_a_run_without_points_says_how_to_get_them(measured):
    """Their measures are null, one line says so; clean ones are there."""
    done = measured[1]
    (line,) = [line for line in done.err.splitlines() if "--store-points" in line]
    assert "ce l2:0.5" in line
    (run,) = {row["run_id"] for row in done.json["rows"] if row["model"] == "ce"}
    found = values(done, run)
    names = {
        points: {name for name, where, split in found if (where, split) == (points, "test")}
        for points in ("clean", "worst")
    }
    assert names["clean"] - names["worst"] == {"svm_ratio", "svm_separable", "flip_share"}
    distances = {"input_margin_l2", "security_curve_l2"}
    beside = {"margin_consistency_l2", "brittle_auroc", "brittle_fpr95", "optimality"}
    assert names["worst"] - names["clean"] == {"local_linearity"} | distances | beside
    distances |= beside
    assert all(found[name, "worst", "test"] is None for name in names["worst"] - distances)
    assert found["security_curve_l2", "worst", "test"] > 0
    # Forty samples are too few to count peaks.
    assert {name for name in names["clean"] if found[name, "clean", "test"] is None} == {
        "logit_margin_peaks"
    }


def test_a_second_time_does_nothing(own_measured, cli, snapshot):
    """Nothing is touched and the same is printed; --force computes the same numbers again."""
    before = snapshot(own_measured)
    again = cli("measure at ce --train-samples 100 --json --out", own_measured)
    assert again.code == 0
    assert again.err.count("measured already") == 3
    assert snapshot(own_measured) == before
    forced = cli("measure at ce --train-samples 100 --json --force --out", own_measured)
    assert "already" not in forced.err
    assert forced.json == again.json
    assert snapshot(own_measured) != before


def test_another_number_of_training_samples_is_measured_anew(own_measured, cli):
    """With none there is nothing of the training split."""
    run = next((own_measured / "results" / "runs").glob("*.parquet")).stem
    done = cli("measure --train-samples 0 --json --out", own_measured, run)
    assert done.code == 0
    assert "already" not in done.err
    assert {row["name"] for row in done.json["rows"] if row["split"] == "train"} == {
        "train_samples"
    }


def test_new_runs_of_the_model_bring_new_input_margins(own_measured, cli):
    """Nothing else is computed again, and no model is needed for it."""
    words = ["--train-samples", "100", "--json", "--out", own_measured]
    before = values(cli("measure at", *words))
    assert (
        cli("attack at --attack fmn:steps=10 --threat l2:inf --limit 40 --out", own_measured).code
        == 0
    )
    shutil.rmtree(own_measured / "models")
    redone = []
    for path in (own_measured / "results" / "measures").glob("*.parquet"):
        done = cli("measure", path.stem, *words)
        assert done.code == 0, done.err
        rows = pq.read_table(own_measured / "results" / "sample_measures" / path.name).to_pylist()
        assert all(row["clean_feature_margin"] is not None for row in rows)
        if done.json["rows"][0]["model"] == "at":
            redone.append(path.stem)
            assert "only input margins were redone" in done.err
            found = values(done)
            assert found["input_margin_l2", "worst", "test"] is not None
            assert (
                found["effective_rank", "clean", "train"]
                == before["effective_rank", "clean", "train"]
            )
            assert all(row["input_margin_l2"] is not None for row in rows)
        assert "already" in cli("measure", path.stem, *words).err
    assert len(redone) == 2


def test_logit_margins_attacks_and_input_margins(own_measured, cli):
    """One more run brings tau; brittle inputs and optimality agree with the rows and the table."""
    words = ["--train-samples", "100", "--out", own_measured]
    line = "attack at --threat linf:inf --limit 40 --json --out"
    ids = [
        cli(f"{line} {own_measured} --attack fmn:steps={steps}").json["rows"][0]["run_id"]
        for steps in (5, 30)
    ]
    budget = next(
        path
        for path in (own_measured / "results" / "runs").glob("*.parquet")
        if pq.read_table(path).to_pylist()[0]["threat"] == "linf:0.15"
    )
    details, values = {}, {}
    for run in (*ids, budget.stem):
        for row in cli("measure", run, "--json", *words).json["rows"]:
            if row["points"] == "worst" and row["class"] is None:
                details[run, row["name"]], values[run, row["name"]] = row["detail"], row["value"]
    few, many = (values[run, "optimality"] for run in ids)
    assert 0 <= few < many <= 1
    assert {details[run, "optimality"]["other_runs"] for run in ids} == {3}
    samples = pq.read_table(own_measured / "results" / "samples" / budget.name).to_pylist()
    right = [row for row in samples if row["clean_correct"]]
    known = details[budget.stem, "brittle_auroc"]
    assert known["brittle"] >= sum(row["adversarial"] for row in right)
    assert known["brittle"] + known["robust"] + known["left_out"] == len(right)
    assert values[budget.stem, "margin_consistency_linf"] > 0.3
    shown = cli("measure", *ids, *words, "-q").out
    assert "tau, clean margin (linf)" in shown
    assert "3 other runs" in " ".join(shown.split())


def test_the_table_fits(measured, cli):
    """80 columns, no escape codes, with NO_COLOR and without; nothing of the table on stderr."""
    out, _ = measured
    for env in ({}, {"NO_COLOR": "1"}):
        done = cli("measure at ce --train-samples 100 -q --out", out, env=env)
        assert (done.code, done.err) == (0, "")
        assert max(map(len, done.out.splitlines())) <= 80
        assert ESCAPE not in done.out
        assert "…" not in done.out
        assert done.out.count("feature margin, median") == 3


def test_a_changed_model_is_refused(own, cli, snapshot):
    """Another model under the same name: exit 2, one line, nothing written."""
    shutil.rmtree(own / "models" / "at")
    shutil.copytree(own / "models" / "ce", own / "models" / "at")
    before = snapshot(own)
    done = cli("measure at --json --out", own)
    assert (done.code, done.out) == (2, "")
    assert "not what was attacked" in done.err
    assert done.err.count("error:") == 1
    assert snapshot(own) == before


def test_a_name_that_was_trained_again(own, cli):
    """Runs of old weights are left out with a message, new ones measured; compare notes it."""
    train = "train --data digits --model mlp:width=8 --epochs 1 --name ce --force --out"
    assert cli(train, own).code == 0
    fresh = cli("attack ce --attack fgsm --threat l2:0.5 --limit 20 --json --out", own).json[
        "rows"
    ][0]["run_id"]
    done = cli("measure ce --train-samples 0 --json --out", own)
    assert done.code == 0, done.err
    assert {row["run_id"] for row in done.json["rows"]} == {fresh}
    assert "left out: run" in done.err
    notes = {
        row["run_id"]: row["note"]
        for row in cli("compare ce --allow samples --allow subset --json --out", own).json["rows"]
    }
    assert [
        f"other weights or code than run {fresh}" in (note or "")
        for run, note in notes.items()
        if run != fresh
    ] == [True]
    assert "other weights or code" not in (notes[fresh] or "")


def test_a_model_that_lies_elsewhere(own, cli, tmp_path):
    """What is missing is said, with the way out; --model names the place."""
    shutil.move(own / "models" / "ce", tmp_path / "moved")
    done = cli("measure ce --train-samples 0 --json --out", own)
    assert done.code == 2
    assert "--model" in done.err
    done = cli("measure ce --train-samples 0 --json --out", own, "--model", tmp_path / "moved")
    assert done.code == 0, done.err


def test_changed_data_are_refused(tmp_path, cli, snapshot):
    """An image that was replaced since: exit 2, one line, nothing written."""
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for i in range(3):
                Image.new("L", (8, 8), 20 * i + 100 * (label == "b")).save(folder / f"{i}.png")
    out, data = tmp_path / "S", f"folder:{tmp_path / 'data'}"
    words = ["--data", data, "--attack", "fgsm", "--threat", "linf:0.1", "--out", out]
    done = cli("attack mlp:width=4", *words)
    assert done.code == 0, done.err
    Image.new("L", (8, 8), 77).save(tmp_path / "data" / "test" / "a" / "1.png")
    before = snapshot(out)
    done = cli("measure mlp:width=4 --out", out)
    assert (done.code, done.out, done.err.count("error:")) == (2, "", 1)
    assert "data" in done.err
    assert "not what was attacked" in done.err
    assert snapshot(out) == before


def test_attack_measures_what_it_wrote(own, cli):
    """--measure keeps points and leaves what `measure` would, for every budget."""
    line = "attack at --attack fgsm --threat linf:0.05,0.1 --limit 20 --json --out"
    done = cli(line, own, "--measure")
    assert done.code == 0, done.err
    assert {row["run_id"] for row in done.json["measures"]} == {
        row["run_id"] for row in done.json["rows"]
    }
    plain = cli(line, own, "--store-points")
    assert [row["run_id"] for row in plain.json["rows"]] == [
        row["run_id"] for row in done.json["rows"]
    ]
    for row in done.json["rows"]:
        found = values(cli("measure --json --out", own, row["run_id"]))
        assert found["accuracy", "worst", "test"] == pytest.approx(row["robust_accuracy"])
        assert found == {
            (r["name"], r["points"], r["split"]): r["value"]
            for r in done.json["measures"]
            if r["class"] is None and r["run_id"] == row["run_id"]
        }


def test_a_foreign_model_without_a_head(private, cli, tmp_path):
    """Feature measures are null, everything else is measured."""
    folder = private(
        "foreign",
        "from torch import nn\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())\n",
    )
    words = ["--attack", "fgsm", "--limit", "20", "--measure", "--json", "--out", tmp_path / "S"]
    done = cli("attack foreign:make", *words, cwd=folder)
    assert done.code == 0, done.err
    found = {
        (r["name"], r["points"]): r
        for r in done.json["measures"]
        if r["class"] is None and r["split"] == "test"
    }
    for points in ("clean", "worst"):
        assert found["feature_margin_median", points]["value"] is None
        assert "nn.Linear" in found["feature_margin_median", points]["detail"]["reason"]
        assert found["margin_gradient_l1", points]["value"] > 0


LINEAR = """
import torch
from torch import nn


def make():
    layer = nn.Linear(64, 10)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(10, 64, generator=g))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)
"""


def test_the_curve_of_a_linear_model_goes_through_separate_attacks(private, cli, tmp_path):
    """Three commands, one budget each: the curve passes through each robust accuracy.

    The features of this model are the pixels, so where the best other class is the nearest one the
    feature margin is the logit margin over the length of its gradient.
    """
    folder, out = private("linear", LINEAR), tmp_path / "S"
    found = {}
    for eps in (0.005, 0.02, 0.05):
        words = ["--attack", "fgsm", "--limit", "120", "--json", "--out", out]
        done = cli("attack linear:make --threat", f"linf:{eps}", *words, cwd=folder)
        assert done.code == 0, done.err
        found[eps] = done.json["rows"][0]
    assert len({row["robust_accuracy"] for row in found.values()}) == 3
    done = cli(
        "measure --trust-code --json --train-samples 0 --out",
        out,
        found[0.02]["run_id"],
        cwd=folder,
    )
    assert done.code == 0, done.err
    curve = next(row["detail"] for row in done.json["rows"] if row["name"] == "security_curve_linf")
    assert curve["attacked_eps"] == [0.005, 0.02, 0.05]
    for eps, row in found.items():
        at = max(i for i, step in enumerate(curve["eps"]) if step <= eps)
        assert curve["robust_accuracy"][at] == pytest.approx(row["robust_accuracy"])
    samples = pq.read_table(
        out / "results" / "samples" / f"{found[0.02]['run_id']}.parquet"
    ).to_pylist()
    rows = pq.read_table(
        out / "results" / "sample_measures" / f"{found[0.02]['run_id']}.parquet"
    ).to_pylist()
    for sample, row in zip(samples, rows, strict=True):
        # With several boundaries the nearest need not be that of the best other class.
        assert (
            row["clean_feature_margin"]
            <= sample["clean_margin"] / row["clean_margin_gradient_l2"] + 1e-4
        )
    nearest = [
        s["clean_margin"] / r["clean_margin_gradient_l2"]
        for s, r in zip(samples, rows, strict=True)
    ]
    assert (
        sum(abs(a - r["clean_feature_margin"]) < 1e-4 for a, r in zip(nearest, rows, strict=True))
        > 60
    )


def test_nothing_to_measure(tmp_path, cli):
    """An unknown run is exit 2."""
    done = cli("measure nobody --out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
