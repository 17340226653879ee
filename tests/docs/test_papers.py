"""Verdicts on the papers' claims, from made-up results."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from .generated import papers  # noqa: F401 - its folder is on the path then

import record as recording  # isort: skip
from claims import Claim, judge, mean_text, values  # isort: skip


def results(**robust):
    """A row per loss and seed: robust accuracy under one attack, and under a stronger one."""
    return pd.DataFrame(
        [
            {
                "loss": loss,
                "train_seed": seed,
                "attack": attack,
                "robust_accuracy": value,
                "measures": json.dumps({"size worst test": 10 * value}),
                "train_logs": json.dumps({"leak": value}),
            }
            for loss, attacks in robust.items()
            for attack, seeds in attacks.items()
            for seed, value in enumerate(seeds)
        ]
    )


WEAK, STRONG = {"attack": "weak"}, {"attack": "strong"}


@pytest.mark.parametrize(
    ("mine", "word"),
    [
        ((0.40, 0.42, 0.41), "reproduced"),
        ((0.20, 0.22, 0.21), "not reproduced"),
        ((0.30, 0.35, 0.31), "undecided (needs 9 seeds)"),
    ],
)
def test_a_verdict_is_where_the_interval_is(mine, word):
    """The last has differences of .00, .04 and .01: mean .0167, standard deviation .0208, and
    Student's t times that over sqrt(n) is .0174 for 8 seeds and .0160 for 9.
    """
    rows = results(new={"weak": mine}, old={"weak": (0.30, 0.31, 0.30)})
    verdict = judge(Claim(text="", loss="new", than="old", where=WEAK), rows)
    assert (verdict.word, verdict.seeds) == (word, 3)
    opposite = judge(Claim(text="", loss="new", than="old", where=WEAK, below=True), rows)
    assert opposite.word == {"reproduced": "not reproduced", "not reproduced": "reproduced"}.get(
        word, word
    )


def test_a_gain_that_a_stronger_attack_takes_away_is_masking():
    old = {"weak": (0.1, 0.12, 0.11), "strong": (0.1, 0.12, 0.11)}
    claim = Claim(text="", loss="new", than="old", where=WEAK, stronger=STRONG)
    real = {"weak": (0.9, 0.93, 0.92), "strong": (0.8, 0.84, 0.83)}
    masked = {"weak": (0.9, 0.93, 0.92), "strong": (0.1, 0.11, 0.12)}
    assert judge(claim, results(new=real, old=old)).word == "reproduced"
    assert judge(claim, results(new=masked, old=old)).word == "reproduced as masking"
    assert judge(claim, results(new=old, old=real)).word == "not reproduced"


def test_one_seed_decides_nothing_and_none_is_not_measured():
    rows = results(new={"weak": (0.9,)}, old={"weak": (0.1,)})
    claim = Claim(text="", loss="new", than="old", where=WEAK)
    assert judge(claim, rows).word == "undecided (needs 2 seeds or more)"
    assert judge(claim, rows[rows.loss == "new"]).word == "not measured"


def test_metrics_are_columns_measures_or_logs():
    rows = results(new={"weak": (0.1, 0.3)})
    assert values(rows, "new", "robust_accuracy", WEAK) == {0: 0.1, 1: 0.3}
    assert values(rows, "new", "measures size worst test", WEAK) == {0: 1.0, 1: 3.0}
    assert values(rows, "new", "logs leak", WEAK) == {0: 0.1, 1: 0.3}
    assert values(rows, "new", "logs other", WEAK) == {}
    assert values(rows, "new", "robust_accuracy", STRONG) == {}


def test_a_mean_with_its_interval():
    """Student's t of 2 degrees of freedom, 4.303, times the standard deviation 1 over sqrt(3)."""
    assert mean_text({0: 1.0, 1: 2.0, 2: 3.0}) == "2.0 ± 2.5"
    assert mean_text({0: 0.125}, 100) == "12.5"
    assert mean_text({}) == "-"


def test_the_runs_of_a_sweep_are_recorded_and_no_others(store, cli, tmp_path, monkeypatch):
    """Also beside runs without a tag, which the default folder of a newcomer has."""
    words = ["--limit", 20, "--attack", "fgsm", "--quiet", "--out", store]
    assert cli("attack ce", *words).code == 0
    assert cli("attack at --tag sweep=mine --tag loss=sovr --tag nightly", *words).code == 0
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    rows = pd.read_parquet(recording.record("mine", store))
    assert (list(rows.model), list(rows.loss)) == (["at"], ["sovr"])
    for name, out in (("other", store), ("mine", tmp_path / "nowhere")):
        with pytest.raises(SystemExit, match=f"no run of sweep {name} in .*--out"):
            recording.record(name, out)
