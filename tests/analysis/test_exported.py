"""Records of runs: what the samples say, under names that stay."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from scipy.stats import binomtest

from robbench.analysis.certified import Proofs
from robbench.analysis.exported import record


def epoch(number, **changes):
    row = {"epoch": number, "learning_rate": 0.1, "train_loss": 1.0 / number, "seconds": 2.0}
    row |= dict.fromkeys(("clean_accuracy", "robust_accuracy", "clean_margin", "adv_margin"))
    return row | {"selected": False, "logs": None} | changes


def test_numbers_are_those_of_the_samples(stored, make_samples):
    """Also where the row of the run claims others; intervals are Wilson's."""
    samples = make_samples(40)
    run = stored("aaaa11111111", samples, robust_accuracy=0.99)
    found = record(run, certified=Proofs(0.1))
    k = sum(row["robust"] for row in samples)
    wilson = binomtest(k, 40).proportion_ci(method="wilson")
    robust = found.measures["robust_accuracy"]
    assert robust.value == k / 40
    assert (robust.low, robust.high) == pytest.approx((wilson.low, wilson.high))
    assert found.tags["flags"] == "edited"
    wilson = binomtest(4, 40).proportion_ci(method="wilson")
    certified = found.measures["certified_accuracy"]
    assert (certified.low, certified.high) == pytest.approx((wilson.low, wilson.high))
    queries = sum(row["n_forward"] for row in samples) / 40
    assert found.measures["n_forward_per_sample"].value == queries
    assert found.measures["wall_s"].value == 1.5
    assert found.numbers["wall_s"] == 1.5
    assert (found.numbers["certified_accuracy_low"], found.numbers["certified_accuracy"]) == (
        pytest.approx(wilson.low),
        0.1,
    )
    assert "wall_s_low" not in found.numbers
    assert record(run, certified=Proofs(0.1, unsound=(7,))).tags["flags"] == "edited, unsound"
    assert found.started == datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def test_without_a_budget(stored, make_samples):
    """A median distance, no robust accuracy; one that is infinite is left out."""
    samples = make_samples(9, breakable=0.0)
    endless = {"eps": math.inf, "threat": "linf:inf"}
    found = record(stored("aaaa11111111", samples, **endless)).measures
    assert "robust_accuracy" not in found
    assert "distance_p50" not in found
    samples = make_samples(9, breakable=1.0)
    found = record(stored("bbbb11111111", samples, **endless)).measures
    assert found["distance_p50"].value == 0.125


def test_settings_and_tags(stored):
    """Those of attack and training; what has no value is left out."""
    trained = json.dumps({"lr": 0.1, "inner": None, "compile": False})
    run = stored("aaaa11111111", train_config=trained, tags='["nightly", "a=b"]', git_sha="c0ffee")
    found = record(run)
    assert (found.settings["train.lr"], found.settings["train.compile"]) == (0.1, False)
    assert "train.inner" not in found.settings
    assert "target" not in found.settings
    assert (found.tags["tags"], found.tags["git_sha"]) == ("nightly, a=b", "c0ffee")
    assert "git_dirty" not in found.tags


def test_titles_outlast_runs_and_tell_what_differs(stored):
    """Weights and run ids are not in them; samples, attack, seed and limits are."""
    plain = record(stored("aaaa11111111", model_hash="1")).title
    assert record(stored("bbbb11111111", model_hash="2")).title == plain
    assert plain == "ce on digits test, linf:0.15, pgd:steps=10"
    others = [
        record(stored(f"{i:04}11111111", **changes)).title
        for i, changes in enumerate(
            [
                {"model": "at"},
                {"subset": "first=20"},
                {"threat": "linf:0.2", "eps": 0.2},
                {"attack": "fgsm"},
                {"seed": 1},
                {"precision": "bf16"},
                {"max_queries": 9},
                {
                    "audit_attack": "autoattack",
                    "n_audited": 0,
                    "n_audit_broken": 0,
                    "n_survivors": 9,
                },
            ]
        )
    ]
    assert len({plain, *others}) == 9
    assert record(stored("cccc11111111", precision="fp32")).title == plain


def test_curves(stored):
    """What was not measured, or is no number, is no point; what a loss noted is a curve, too."""
    epochs = [
        epoch(1, logs='{"kl": 0.5, "text": "x", "robust_accuracy": 7}'),
        epoch(2, robust_accuracy=0.5, train_loss=math.nan, selected=True),
        epoch(3),
    ]
    found = record(stored("aaaa11111111"), epochs)
    assert found.curves["train_loss"] == [(1, 1.0), (3, 1 / 3)]
    assert found.curves["robust_accuracy"] == [(2, 0.5)]
    assert found.curves["kl"] == [(1, 0.5)]
    assert found.curves["robust_accuracy_logged"] == [(1, 7)]  # a name of a column, too
    assert "text" not in found.curves
    assert found.epoch == 2
    assert record(stored("bbbb11111111", model="ce@last"), epochs).epoch == 3
    assert record(stored("cccc11111111")).epoch == 0


def test_samples_of_a_program_are_told_apart(stored):
    """They have no name but `memory`: their hash is in the title."""
    titles = [
        record(stored(f"{name}1111111", data="memory", data_hash=name)).title
        for name in ("aaaaa", "bbbbb")
    ]
    assert len({*titles}) == 2


def test_a_title_has_no_places(stored):
    """It may be public: of a path the last part, of such data the start of their hash."""
    places = {"model": "at", "data": "npz:/home/u/a/t.npz", "attack": "transfer:source=/home/u/ce"}
    title = record(stored("aaaa11111111", **places, data_hash="0123456789abcdef")).title
    assert title.startswith("at on npz:t.npz (01234567) test")
    assert "transfer:source=ce" in title
    assert "home" not in title
