"""Budgets in columns: every number is that of its run, and no run is lost without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import robbench
from robbench.analysis.compare import compare
from robbench.analysis.pivot import pivot
from robbench.analysis.seeds import over_training_seeds
from robbench.core.errors import UserError
from robbench.store.run import Run

Stored = Callable[..., Run]
SMALL = {"eps": 0.1, "threat": "linf:0.1"}
L2 = {"norm": "l2", "eps": 1.0, "threat": "l2:1"}


@pytest.fixture
def runs(stored: Stored, make_samples: Callable[..., Any]) -> list[Run]:
    """Models ce and at, both at linf:0.15 and linf:0.1, at also at l2:1; on 300 samples."""
    return [
        stored(run_id * 3, make_samples(300, 5, share), model=model, age=age, **facts)
        for age, (run_id, model, share, facts) in enumerate(
            [
                ("aaaa", "ce", 0.7, {}),
                ("bbbb", "at", 0.1, {}),
                ("cccc", "ce", 0.5, SMALL),
                ("dddd", "at", 0.05, SMALL),
                ("eeee", "at", 0.2, L2),
            ]
        )
    ]


def test_a_row_per_model_and_a_column_per_budget(runs: list[Run]) -> None:
    """Budgets ascend within a norm, models keep their order; rates and intervals are the runs'."""
    rows = {row["run_id"]: row for row in compare(runs)}
    found = pivot(compare(runs))
    assert found.threats == ("linf:0.1", "linf:0.15", "l2:1")
    ce, at = found.flat()
    assert (ce["model"], at["model"]) == ("ce", "at")
    for line, ids in (
        (ce, ("cccccccccccc", "aaaaaaaaaaaa")),
        (at, ("dddddddddddd", "bbbbbbbbbbbb", "eeeeeeeeeeee")),
    ):
        assert line["clean_accuracy"] == rows[ids[0]]["clean_accuracy"]
        for threat, run_id in zip(found.threats, ids, strict=False):
            assert line[f"{threat}_run"] == run_id
            assert line[threat] == rows[run_id]["robust_accuracy"]
            for end in ("low", "high"):
                assert line[f"{threat}_{end}"] == rows[run_id][f"robust_accuracy_{end}"]
    assert [ce[name] for name in ("l2:1", "l2:1_low", "l2:1_best", "l2:1_run")] == [None] * 4
    # Alone in its column, nothing is the best.
    assert [at[f"{threat}_best"] for threat in found.threats] == [True, True, False]


@pytest.mark.parametrize("eps", [0.0313725, 0.03137255, 0.031372549])
def test_one_budget_written_in_two_ways_is_one_column(stored: Stored, eps: float) -> None:
    """8/255 and its decimals."""
    first = stored("aaaa11111111", eps=8 / 255, threat="linf:8/255")
    second = stored("bbbb11111111", model="at", eps=eps, threat=f"linf:{eps}")
    assert pivot(compare([first, second])).threats == ("linf:8/255",)


def test_two_runs_of_a_model_under_one_budget_are_two_rows(runs: list[Run], stored: Stored) -> None:
    """Told apart by what differs; the runs under other budgets stay with their like."""
    other = stored("ffff11111111", model="ce", age=9, precision="bf16")
    found = pivot(compare([*runs, other]))
    assert [row["model"] for row in found.rows] == ["ce (fp32)", "at", "ce (bf16)"]
    assert [row["linf:0.1_run"] for row in found.flat()] == ["cccccccccccc", "dddddddddddd", None]


def test_other_weights_under_one_name_are_another_row(stored: Stored) -> None:
    """Though no budget has both: a row is one model."""
    old = stored("aaaa11111111", model_hash="0123aaaa")
    new = stored("bbbb11111111", age=9, model_hash="4567aaaa", **SMALL)
    names = [row["model"] for row in pivot(compare([old, new])).rows]
    assert names == ["ce (weights 0123)", "ce (weights 4567)"]


def test_the_same_twice_is_refused(stored: Stored) -> None:
    """Two runs that differ in nothing that is shown."""
    twins = [stored("aaaa11111111"), stored("bbbb11111111", age=9)]
    with pytest.raises(UserError, match="aaaa11111111 and bbbb11111111 are both of ce under linf"):
        pivot(compare(twins))


def test_runs_without_a_budget_are_left_out(runs: list[Run], stored: Stored) -> None:
    """They have no robust accuracy; where nothing else is there, that is said."""
    endless = stored(
        "ffff11111111",
        model="ce",
        age=9,
        norm="l2",
        eps=float("inf"),
        threat="l2:inf",
        robust_accuracy=None,
    )
    found = pivot(compare([*runs, endless]))
    assert (found.left_out, len(found.threats)) == (("l2:inf",), 3)
    with pytest.raises(UserError, match="no run has a budget"):
        pivot(compare([endless]))


def test_training_seeds_share_a_row(stored: Stored, make_samples: Callable[..., Any]) -> None:
    """Means and deviations are those of the rows over seeds; a missing seed splits no row."""
    runs = []
    for seed, eps in ((0, 0.1), (1, 0.1), (0, 0.2)):
        config = json.dumps({"loss": "ce", "seed": seed})
        runs.append(
            stored(
                f"aaaa{seed}{eps:.0e}".replace("-", ""),
                make_samples(100, seed, eps),
                age=seed,
                model=f"ce-s{seed}",
                eps=eps,
                threat=f"linf:{eps}",
                train_seed=seed,
                train_config=config,
            )
        )
    rows = over_training_seeds(runs, compare(runs))
    (found,) = pivot(rows).flat()
    assert (found["model"], found["n_seeds"]) == ("ce", None)
    assert found["linf:0.1_sd"] == rows[0]["robust_accuracy_sd"] > 0
    assert (found["linf:0.1"], found["linf:0.2_sd"]) == (rows[0]["robust_accuracy"], None)


def test_only_the_threat_model_can_be_in_columns(runs: list[Run]) -> None:
    """The message says what can."""
    with pytest.raises(UserError, match=r"--pivot model: .* --pivot threat"):
        pivot(compare(runs), "model")


def test_every_form_of_the_command_and_the_function_agree(
    cli: Callable[..., Any], runs: list[Run], tmp_path: Path
) -> None:
    """JSON, CSV, Markdown, LaTeX, terminal and data frame have the same cells."""
    words = ("compare --pivot threat --out", tmp_path)
    rows = cli(*words, "--json").json["rows"]
    frame = robbench.compare(out=tmp_path, pivot="threat").astype(object)
    assert rows == frame.where(frame.notna(), None).to_dict("records")
    assert cli(*words, "--csv").out.splitlines()[0].split(",") == list(rows[0])
    share = f"{100 * rows[1]['linf:0.15']:.1f}"
    for form, cell in (
        ("--markdown", rf"**{share}%\* "),
        ("--latex", rf"$\mathbf{{{share}}}$ "),
        ("--quiet", f" {share}%* "),
    ):
        assert cell in cli(*words, form).out, form
    assert "leave one out" in cli(*words, "--columns", "model").err
