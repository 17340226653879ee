"""Training seeds as one row: against scipy's t tests and intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from robbench.analysis.compare import compare
from robbench.analysis.seeds import between_seeds, over_training_seeds, paired_t
from robbench.core.errors import UserError
from robbench.reports.columns import DEFAULT, column
from robbench.reports.formats import to_json, to_markdown
from robbench.reports.latex.table import to_latex
from robbench.store.run import Run

Rows = list[dict[str, Any]]


@pytest.fixture
def seeded(stored: Callable[..., Run], make_samples: Callable[..., Any]) -> Callable[..., Run]:
    """A run of a recipe and a training seed."""

    def make(recipe: str, seed: int, breakable: float, **more: Any) -> Run:
        config = {
            "train_config": json.dumps({"loss": recipe, "seed": seed, "epochs": 2}),
            "train_seed": seed,
            "loss": recipe,
        }
        samples = make_samples(100, 10 * seed + len(recipe), breakable)
        return stored(
            f"{recipe}{seed}", samples, **({"model": f"{recipe}-s{seed}"} | config | more)
        )

    return make


def _grouped(runs: list[Run]) -> Rows:
    return over_training_seeds(runs, compare(runs))


def test_means_intervals_and_the_paired_test_are_scipys(seeded: Callable[..., Run]) -> None:
    """Mean and t interval of each recipe, paired t test over seeds, in any order of the runs."""
    runs = [seeded("ce", seed, 0.6) for seed in range(4)] + [
        seeded("trades", seed, 0.4) for seed in (3, 1, 0, 2)
    ]
    per_run = {row["run_id"]: row for row in compare(runs)}
    first, second = _grouped(runs)
    values = [
        np.array([per_run[f"{name}{seed}"]["robust_accuracy"] for seed in range(4)])
        for name in ("ce", "trades")
    ]
    for row, mine in zip((first, second), values, strict=True):
        low, high = stats.t.interval(0.95, 3, mine.mean(), stats.sem(mine))
        assert row["robust_accuracy"] == pytest.approx(mine.mean())
        assert (row["robust_accuracy_low"], row["robust_accuracy_high"]) == pytest.approx(
            (max(0, low), min(1, high))
        )
        assert row["n_seeds"] == 4
        assert row["n_robust"] / row["n_samples"] == pytest.approx(row["robust_accuracy"])
        assert row["robust_accuracy_sd"] == pytest.approx(mine.std(ddof=1))
        clean = [per_run[f"{row['loss']}{seed}"]["clean_accuracy"] for seed in range(4)]
        assert row["clean_accuracy_sd"] == pytest.approx(np.std(clean, ddof=1))
    assert second["robust_difference"] == pytest.approx((values[1] - values[0]).mean())
    assert second["t_test_p"] == second["p_holm"]  # of one comparison
    assert second["p_holm"] == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue)
    assert second["best"] is (second["p_holm"] <= 0.05)
    assert (first["note"], first["baseline"], first["p_holm"]) == ("baseline", None, None)
    assert [row["model"] for row in (first, second)] == ["ce (4 seeds)", "trades (4 seeds)"]


def test_the_columns_are_those_of_a_run(seeded: Callable[..., Run]) -> None:
    """Every format shows a grouped row as it shows a run."""
    runs = [
        seeded("ce", 0, 0.5),
        seeded("ce", 1, 0.5),
        seeded("trades", 0, 0.5),
        seeded("trades", 1, 0.4),
    ]
    rows = _grouped(runs)
    assert [set(row) for row in rows] == [set(compare(runs)[0])] * 2
    assert all(column(name).text(row) for row in rows for name in DEFAULT)
    assert "Student's t over seeds" in to_markdown(rows)
    assert r"Mean $\pm$ standard deviation over 2 training seeds" in to_latex(rows)
    assert json.loads(to_json(rows))["rows"][0]["n_seeds"] == 2


def test_one_seed_has_no_interval_and_no_test(seeded: Callable[..., Run]) -> None:
    """Nothing is claimed from one training each."""
    first, second = _grouped([seeded("ce", 0, 0.9), seeded("trades", 0, 0.1)])
    assert math.isnan(first["robust_accuracy_low"])
    assert column("robust_accuracy").text(first).endswith("% -")
    assert (second["p_holm"], second["best"]) == (None, False)
    assert "fewer than two training seeds" in second["note"]
    assert first["model"] == "ce-s0 (1 seed)"


def test_only_common_seeds_are_paired(seeded: Callable[..., Run]) -> None:
    """Seeds that one recipe lacks count for its mean, not for the difference."""
    runs = [seeded("ce", seed, 0.6) for seed in (0, 1, 2)] + [
        seeded("trades", seed, 0.4) for seed in (1, 2, 3)
    ]
    per_run = {row["run_id"]: row["robust_accuracy"] for row in compare(runs)}
    second = _grouped(runs)[1]
    assert second["robust_difference"] == pytest.approx(
        sum(per_run[f"trades{s}"] - per_run[f"ce{s}"] for s in (1, 2)) / 2
    )
    assert second["note"] == "paired on the 2 seeds in common"


def test_same_loss_but_another_recipe_is_another_row(seeded: Callable[..., Run]) -> None:
    """What makes a group is everything of the training but its seed, under one attack."""
    longer = json.dumps({"loss": "ce", "seed": 1, "epochs": 3})
    runs = [seeded("ce", 0, 0.5), seeded("ce", 1, 0.5, train_config=longer)]
    runs.append(seeded("ce", 2, 0.5, attack_params='["fgsm"]', attack="fgsm"))
    assert [row["n_seeds"] for row in _grouped(runs)] == [1, 1, 1]


@pytest.mark.parametrize("lacking", [{"train_config": None}, {"train_seed": None}])
def test_a_run_that_does_not_say_how_it_was_trained(
    seeded: Callable[..., Run], lacking: dict[str, None]
) -> None:
    """A foreign model, or an older run: refused by its id, with the next step."""
    with pytest.raises(
        UserError, match=r"run ce0 of ce-s0 does not say how it was trained .* attack it again"
    ):
        _grouped([seeded("ce", 0, 0.5, **lacking)])


def test_a_seed_twice_is_refused(stored: Callable[..., Run], seeded: Callable[..., Run]) -> None:
    """Two runs of one recipe and seed would count one training twice."""
    one = seeded("ce", 0, 0.5)
    with pytest.raises(UserError, match="runs ce0 and zzzz are of one recipe and seed 0"):
        _grouped([one, Run({**one.info, "run_id": "zzzz"}, one.samples)])


def test_differences_all_alike_are_no_evidence() -> None:
    """No spread: p is 1 without a difference, and there is no test with one; else it is scipy's."""
    same = {0: 0.5, 1: 0.6}
    assert paired_t(same, same) == 1.0
    assert paired_t({0: 0.6, 1: 0.7}, same) is None
    assert paired_t({0: 0.6}, same) is None
    values, base = {0: 0.7, 1: 0.65, 2: 0.8}, {0: 0.5, 1: 0.6, 2: 0.55}
    assert paired_t(values, base) == pytest.approx(
        stats.ttest_rel([*values.values()], [*base.values()]).pvalue
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, True),
        ({"robust_difference": -0.01}, True),
        ({"robust_difference": 0.011}, False),
        ({"robust_difference": 0.0}, False),
        ({"robust_difference": None, "baseline": None}, False),
    ],
)
def test_a_close_pair_with_a_seed_each_is_warned_of(
    seeded: Callable[..., Run], changes: dict[str, Any], said: bool
) -> None:
    """Not where the models are far apart, equal, or not paired."""
    runs = [seeded("ce", 0, 0.6), seeded("trades", 0, 0.4)]
    first, second = compare(runs)
    found = between_seeds(runs, [first, {**second, "robust_difference": 0.004, **changes}])
    assert len(found) == said
    assert all("0.1 to 0.6 points" in text for text in found)


def test_no_warning_of_seeds_where_they_are_compared_or_unknown(
    seeded: Callable[..., Run],
) -> None:
    """Several seeds of a recipe, a model trained elsewhere, two checkpoints of a training."""
    one, other = seeded("ce", 0, 0.6), seeded("trades", 0, 0.4)
    for runs in (
        [one, other, seeded("trades", 1, 0.4)],
        [one, seeded("mart", 0, 0.4, train_config=None, train_seed=None)],
        [one, seeded("ce", 0, 0.4, model="ce@last", age=1)],
    ):
        rows = [{**row, "robust_difference": row["baseline"] and 0.004} for row in compare(runs)]
        assert between_seeds(runs, rows) == []
