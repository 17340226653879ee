"""Best and last checkpoint in one row, of handmade runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.checkpoints import join_checkpoints
from robbench.analysis.comparison import compare_read
from robbench.core.errors import UserError
from robbench.store.run import Run


@pytest.fixture
def run(stored: Callable[..., Run], make_samples: Callable[..., Any]) -> Callable[..., Run]:
    """The run of a name such as `at@last`; its weights are called as the name."""

    def make(name: str, breakable: float = 0.3, age: int = 0, **more: Any) -> Run:
        base = name.partition("@")[0]
        facts = {"model_hash": name, "train_config": f'{{"name": "{base}"}}', "train_seed": 0}
        run_id = f"{name}{age}".replace("@", "")
        samples = make_samples(200, len(name), breakable)
        return stored(run_id, samples, **({"model": name, "age": age} | facts | more))

    return make


@pytest.mark.parametrize(
    ("names", "kept", "last"),
    [
        (("at", "at@last"), ["at"], {"at0": "at@last"}),
        (("at@last", "at"), ["at"], {"at0": "at@last"}),
        (("ce", "ce@best"), ["ce@best"], {"cebest0": "ce"}),
        (("at@best", "at@last"), ["at@best"], {"atbest0": "at@last"}),
        (("at", "at@last", "ce"), ["at", "ce"], {"at0": "at@last"}),
        (("at@best", "at", "at@last"), ["at@best", "at"], {"atbest0": "at@last"}),
        (
            ("at", "at@last", "ce", "ce@last"),
            ["at", "ce"],
            {"at0": "at@last", "ce0": "ce@last"},
        ),
    ],
)
def test_the_last_checkpoint_stands_beside_the_best(
    run: Callable[..., Run], names: tuple[str, ...], kept: list[str], last: dict[str, str]
) -> None:
    """NAME is the one of the two that is not named; other models keep their rows."""
    runs, found = join_checkpoints([run(name) for name in names])
    assert [one.info["model"] for one in runs] == kept
    assert {run_id: one.info["model"] for run_id, one in found.items()} == last


def test_a_third_run_of_equal_weights_has_no_row(run: Callable[..., Run]) -> None:
    """NAME is one of the two checkpoints."""
    runs = [run("at", model_hash="at@best"), run("at@best"), run("at@last")]
    kept, last = join_checkpoints(runs)
    assert [one.info["model"] for one in kept] == ["at@best"]
    assert list(last) == ["atbest0"]


def test_each_budget_is_joined_by_itself(run: Callable[..., Run]) -> None:
    small = {"eps": 0.05, "threat": "linf:0.05", "age": 1}
    runs = [run("at"), run("at@last"), run("at", **small), run("at@last", **small)]
    kept, last = join_checkpoints(runs)
    assert [one.info["threat"] for one in kept] == ["linf:0.15", "linf:0.05"]
    assert {run_id: one.info["eps"] for run_id, one in last.items()} == {"at0": 0.15, "at1": 0.05}


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([{"name": "ce"}], "robbench attack at at@last"),
        ([{"name": "at@last", "attack_params": '["fgsm"]'}], "attack both alike"),
        ([{"name": "at@last", "train_config": '{"seed": 1}'}], "attack both alike"),
        ([{"name": "at", "age": 1}], "runs at0 and at1 are both of at"),
    ],
)
def test_what_cannot_be_joined(
    run: Callable[..., Run], others: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(UserError, match=why):
        join_checkpoints([run("at"), *(run(**other) for other in others)])


def test_the_row_has_both_accuracies(run: Callable[..., Run]) -> None:
    """Counted from the samples of each; a model without a pair has none."""
    best, last, other = run("at", 0.3), run("at@last", 0.6), run("ce", 0.8)
    rows = compare_read([best, last, other], best_last=True).rows
    assert [row["model"] for row in rows] == ["at", "ce"]
    for name, column in (("robust", "robust_accuracy"), ("clean_correct", "clean_accuracy")):
        for each, key in ((best, column), (last, f"{column}_last")):
            values = each.samples[name].to_pylist()
            assert rows[0][key] == pytest.approx(sum(values) / len(values))
        assert rows[1][f"{column}_last"] is None
    assert all(
        row["robust_accuracy_last"] is None for row in compare_read([best, last, other]).rows
    )


def test_over_training_seeds_the_last_ones_have_a_mean(run: Callable[..., Run]) -> None:
    """Best and last of one seed are not two runs of it."""
    runs = [
        run(f"at-s{seed}{which}", 0.2 + seed / 10, train_config='{"seed": 9}', train_seed=seed)
        for seed in range(2)
        for which in ("", "@last")
    ]
    (row,) = compare_read(runs, best_last=True, over_seeds=True).rows
    expected = [runs[place].info["robust_accuracy"] for place in (1, 3)]
    assert row["robust_accuracy_last"] == pytest.approx(sum(expected) / 2)


def test_the_command_shows_one_row(
    cli: Callable[..., Any], run: Callable[..., Run], tmp_path: Path
) -> None:
    """With a column for the last checkpoint in every form; exit 2 where there is none."""
    run("at", 0.3)
    assert cli("compare --best-last --out", tmp_path).code == 2
    last = run("at@last", 0.6).info["robust_accuracy"]
    (row,) = cli("compare --best-last --json --out", tmp_path).json["rows"]
    assert row["robust_accuracy_last"] == pytest.approx(last)
    for form in ("", "--markdown", "--latex"):
        done = cli(f"compare --best-last {form} --out", tmp_path)
        assert f"{100 * last:.1f}" in done.out, form
        assert "at@last" not in done.out
