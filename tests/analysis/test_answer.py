"""The answer of some runs against counting, SciPy's tests and plain sorting."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from robbench.analysis.answer import answers
from robbench.store.run import Run


@pytest.fixture
def run(add_run, handmade_rows) -> Callable[..., Run]:
    """A run of a model whose first `robust` of 40 samples are robust, at a budget of linf."""

    def make(model: str, robust: int, eps: float = 0.1, **changes: Any) -> Run:
        rows = [
            {**row, "clean_correct": True, "robust": i < robust, "adversarial": i >= robust}
            for i, row in enumerate(handmade_rows(eps=eps))
        ]
        changes = {"model": model, "model_hash": model, "threat": f"linf:{eps:g}", **changes}
        run_id = f"{model}{robust}{eps:g}".replace(".", "").ljust(12, "0")
        return add_run(changes.pop("run_id", run_id), rows, eps, **changes)[1]

    return make


def test_the_best_is_held_against_the_first(run):
    """Difference and exact two-sided sign test on the samples only one of them keeps."""
    (one,) = answers([run("ce", 10), run("at", 30), run("ad", 20)])
    assert (one.top["model"], one.other["model"], one.n_models) == ("at", "ce", 3)
    assert one.difference == pytest.approx(20 / 40)
    # Holm over the two tests against `ce`: the smaller p value counts twice.
    assert one.p == pytest.approx(2 * stats.binomtest(20, 20).pvalue)


def test_the_first_is_held_against_the_next(run):
    """Where the first is the best the sign is turned, and the runner-up is the other."""
    (one,) = answers([run("at", 30), run("ce", 10), run("ad", 20)])
    assert (one.top["model"], one.other["model"]) == ("at", "ad")
    assert one.difference == pytest.approx(10 / 40)
    assert one.p == pytest.approx(stats.binomtest(10, 10).pvalue)


def test_the_largest_budget_that_most_models_share_speaks(run):
    """Not the largest of all, which one model met alone; one answer for each norm and data set."""
    runs = [run("ce", 20, 0.1), run("ce", 10, 0.2), run("at", 30, 0.1), run("at", 25, 0.2)]
    found = answers([*runs, run("at", 5, 0.3), run("ce", 9, 0.4, norm="l2", threat="l2:0.4")])
    assert [one.threat for one in found] == ["linf:0.2", "l2:0.4"]
    assert (found[1].other, found[1].difference, found[1].n_models) == (None, None, 1)


@pytest.mark.parametrize("eps", [0.0313725, 0.03137255, 0.031372549])
def test_one_budget_written_in_two_ways_is_one(run, eps):
    """Two models met it, so that it speaks instead of the larger one of one model."""
    (one,) = answers([run("ce", 10, 8 / 255), run("at", 30, eps), run("ad", 20, 0.2)])
    assert (one.n_models, one.top["model"], one.other["model"]) == (2, "at", "ce")


def test_the_strongest_attack_speaks(run):
    """Each robust accuracy is an upper bound: a weak attack of both models says less."""
    weak = [run(name, 38, attack="fgsm", attack_params='["fgsm"]') for name in ("ce", "at")]
    (one,) = answers([*weak, run("ce", 10), run("at", 30)])
    assert (one.top["robust_accuracy"], one.difference) == (30 / 40, 20 / 40)
    (one,) = answers([run("ce", 10), run("ce", 12, run_id="again0000000")])
    assert (one.top["robust_accuracy"], one.other) == (10 / 40, None)


def test_without_a_budget_the_distances_speak(run):
    """The largest median distance is on top, there is no test, and any budget is preferred."""
    far = [
        run(name, 0, math.inf, threat="linf:inf", distance_p50=far)
        for name, far in (("ce", 0.1), ("at", 0.3))
    ]
    (one,) = answers(far)
    assert one.endless
    assert [one.top["model"], one.other["model"], one.p] == ["at", "ce", None]
    (one,) = answers([*far, run("ce", 10)])
    assert not one.endless


def test_over_seeds_the_paired_t_test_speaks(run):
    """SciPy's paired t test of robust accuracy over the seeds in common."""
    kept = {"ce": (10, 12, 15), "at": (20, 24, 23)}
    runs = [
        run(
            f"{name}-s{seed}",
            robust,
            train_config=json.dumps({"loss": name, "seed": seed}),
            train_seed=seed,
        )
        for name, counts in kept.items()
        for seed, robust in enumerate(counts)
    ]
    (one,) = answers(runs, over_seeds=True)
    assert (one.top["model"], one.other["model"]) == ("at (3 seeds)", "ce (3 seeds)")
    assert one.p == pytest.approx(stats.ttest_rel(kept["at"], kept["ce"]).pvalue)


def test_doubts_are_errors_first_and_notes_none(run):
    """Failed checks, flags and counts of both models; what informs is no doubt.

    That is a check for information, and where a model was loaded from.
    """
    loaded = json.dumps([{"name": "loaded", "count": 0, "text": "from here"}])
    runs = [
        run("ce", 10, n_unfinished=0, flags=loaded),
        run("at", 30, flags=json.dumps([{"name": "flat", "count": 2, "text": "zero"}])),
    ]
    check = {"check": "c", "severity": "error", "verdict": "fail", "text": "t"}
    check |= {"automatic": False}
    rows = {
        runs[0].info["run_id"]: [check, {**check, "severity": "info"}],
        runs[1].info["run_id"]: [{**check, "severity": "warning"}, {**check, "verdict": "pass"}]
        + 2 * [{**check, "verdict": "skipped"}],
    }
    (one,) = answers(runs, checks=rows)
    found = [(doubt.severity, doubt.row["model"], doubt.about) for doubt in one.doubts]
    assert found == [
        ("error", "ce", "check c"),
        ("warning", "at", "flat"),
        ("warning", "at", "check c"),
    ]
    assert one.unchecked == []
    assert one.n_checks == {"fail": 3, "pass": 1, "skipped": 2}
    assert answers(runs)[0].unchecked is None
    ids = [run.info["run_id"] for run in reversed(runs)]
    assert _ids(answers(runs, checks={})[0].unchecked) == ids
    own = {name: [{**check, "verdict": "pass", "automatic": True}] for name in rows}
    assert _ids(answers(runs, checks=own)[0].unchecked) == ids


def test_a_row_that_contradicts_its_samples_is_the_strongest_doubt(run):
    """Though it is of the other model, and the best one has a flag."""
    flag = json.dumps([{"name": "flat", "count": 2, "text": "zero"}])
    (one,) = answers([run("ce", 10, robust_accuracy=0.9), run("at", 30, flags=flag)])
    found = [(doubt.severity, doubt.row["model"], doubt.about) for doubt in one.doubts]
    assert found == [("error", "ce", "edited"), ("warning", "at", "flat")]


def _ids(infos: list[dict[str, Any]]) -> list[str]:
    return [info["run_id"] for info in infos]
