"""Verdicts on the papers' claims, from made-up results."""

from __future__ import annotations

import json
import shutil
import subprocess

import pandas as pd
import pytest

from robbench.guide import FOLDER

from .generated import papers  # noqa: F401 - its folder is on the path then

import page  # isort: skip
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


def test_differences_without_a_spread_decide_nothing():
    rows = results(new={"weak": (0.5, 0.5)}, old={"weak": (0.25, 0.25)}, same={"weak": (0.5, 0.5)})
    alike = judge(Claim(text="", loss="new", than="old", where=WEAK), rows)
    assert alike.word == "undecided (all seeds alike)"
    same = judge(Claim(text="", loss="new", than="same", where=WEAK), rows)
    assert same.word == "no difference seen"


def test_metrics_are_columns_measures_or_logs():
    rows = results(new={"weak": (0.1, 0.3)})
    assert values(rows, "new", "robust_accuracy", WEAK) == {0: 0.1, 1: 0.3}
    assert values(rows, "new", "measures size worst test", WEAK) == {0: 1.0, 1: 3.0}
    assert values(rows, "new", "logs leak", WEAK) == {0: 0.1, 1: 0.3}
    assert values(rows, "new", "logs other", WEAK) == {}
    assert values(rows, "new", "robust_accuracy", STRONG) == {}
    assert values(rows.assign(audited=None), "new", "audited", WEAK) == {}


def test_a_mean_with_its_interval():
    """Student's t of 2 degrees of freedom, 4.303, times the standard deviation 1 over sqrt(3)."""
    assert mean_text({0: 1.0, 1: 2.0, 2: 3.0}) == "2.0 ± 2.5"
    assert mean_text({0: 0.125}, 100) == "12.5"
    assert mean_text({}) == "-"


def test_a_sweep_is_recorded_with_the_runs_that_it_shares_with_another(cli, tmp_path, monkeypatch):
    """The second sweep has the first one's model and run; a run of no sweep is beside them."""
    out = tmp_path / "runs"
    words = ["--set", "epochs=1", "--limit", 20, "--quiet", "--out", out]
    attack = ["--attack", "fgsm"]
    for name, losses in (("one", "mart"), ("two", "mart,trades:beta=2")):
        grid = ["--grid", f"loss={losses}", "--grid", "seed=0..0"]
        assert cli("sweep", "--name", name, *grid, *attack, *words).code == 0
    alone = ["--limit", 10, "--quiet", "--out", out]
    assert cli("attack mart-s0", *attack, *alone).code == 0
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    rows = pd.read_parquet(recording.record("two", out))
    assert list(rows.loss) == ["mart", "trades:beta=2"]
    assert list(rows.n_samples) == [20, 20]
    assert list(pd.read_parquet(recording.record("one", out)).loss) == ["mart"]
    grid = ["--grid", "loss=trades:beta=2", "--grid", "seed=0..0"]  # its table has this model only
    assert cli("sweep", "--name", "one", *grid, *attack, *words).code == 0
    assert list(pd.read_parquet(recording.record("one", out)).loss) == ["mart", "trades:beta=2"]
    with pytest.raises(SystemExit, match=r"no sweep other in .*--out"):
        recording.record("other", out)


def test_shares_of_the_first_directions_are_recorded_with_the_rank(tmp_path):
    energy = {"at": [1, 2, 10], "share": [0.5, 0.7, 0.9]}
    facts = {"points": "clean", "split": "train", "class": None}
    rows = [
        {
            "name": "numerical_rank",
            "value": 12.0,
            "detail": json.dumps({"energy": energy}),
            **facts,
        },
        {"name": "flip_share", "value": None, "detail": "{}", **facts},
    ]
    (tmp_path / "measures").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "measures" / "run.parquet")
    shares = {"variance_in_1 clean train": 0.5, "variance_in_10 clean train": 0.9}
    assert recording._measures("run", tmp_path) == {"numerical_rank clean train": 12.0} | shares
    assert recording._measures("other", tmp_path) == {}


def test_every_recorded_result_is_part_of_the_project():
    """The page is made from these files: one that git does not know is missing elsewhere."""
    if not (FOLDER.parents[1] / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    git = ["git", "ls-files", "--others", "--", str(page.RESULTS)]
    assert subprocess.check_output(git, cwd=page.RESULTS, text=True) == ""


def test_a_page_names_every_device():
    rows = pd.DataFrame([{"recipe": "{}", "loss": "a", "n_samples": 5, "train_seed": 0}] * 2)
    rows = rows.assign(device_name=["one", "two"], torch_version="2.15", git_sha="c0ffee12")
    assert "seeds, one, two, torch 2.15, commit" in page._origin("x", rows)


@pytest.mark.parametrize(
    ("shas", "end"), [([None, None], "torch 2.15.\n"), ([None, "c0ffee12"], ", commit c0ffee1.\n")]
)
def test_a_commit_that_is_not_known_is_left_out(shas, end):
    """Outside of a checkout there is none."""
    facts = {"recipe": "{}", "loss": "a", "n_samples": 5, "device_name": "cpu"}
    rows = pd.DataFrame([{**facts, "torch_version": "2.15", "train_seed": n} for n in range(2)])
    assert page._origin("x", rows.assign(git_sha=shas)).endswith(end)


def test_failed_checks_are_counted_by_name():
    """A sweep may be run without its checks: none failed is another thing."""
    told = {"a": ['["audit"]', '["audit", "unmoved"]'], "b": ["[]", None], "c": [None, None]}
    rows = pd.DataFrame(
        [{"loss": loss, "failed_checks": one} for loss in told for one in told[loss]]
    )
    found = [page._failed(rows, loss) for loss in told]
    assert found == ["audit 2, unmoved 1", "-", "not checked"]
