"""The gate's answer for handmade pairs of runs, against plain loops and other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from robbench.analysis.gate import GateFinding, judge
from robbench.analysis.gate_checks import (
    CLEAN,
    DISTANCE,
    MARGIN,
    ROBUST,
    Tolerances,
    needed_for_rate,
)
from robbench.core.errors import UserError
from robbench.statistics.paired import drop_p_values
from robbench.store.run import Run, read_run
from robbench.store.store import Store

Rows = list[dict[str, Any]]
Pair = Callable[..., tuple[Run, Run]]


def verdicts(rows: Rows, robust: list[bool]) -> Rows:
    """The rows with other verdicts, all of them right without an attack."""
    return [
        {
            **row,
            "clean_correct": True,
            "clean_pred": row["label"],
            "robust": r,
            "adversarial": not r,
            "adv_margin": 1.0 if r else -1.0,
        }
        for row, r in zip(rows, robust, strict=True)
    ]


@pytest.fixture
def pair(
    tmp_path: Path, make_samples: Callable[..., Rows], make_run: Callable[..., dict[str, Any]]
) -> Pair:
    """Two runs of n samples: both robust on `both`, then `lost` and `won`, then none."""

    def make(both: int, lost: int, won: int, n: int, **changes: Any) -> tuple[Run, Run]:
        base = [i < both + lost for i in range(n)]
        new = [i < both or both + lost <= i < both + lost + won for i in range(n)]
        found = []
        for run_id, robust, more in (("aaaa", base, {}), ("bbbb", new, changes)):
            rows = verdicts(make_samples(n), robust)
            found.append(read_run(Store(tmp_path).write(make_run(run_id, rows, **more), rows)))
        return found[0], found[1]

    return make


def verdict(runs: tuple[Run, Run], **tolerances: Any) -> str:
    chosen = Tolerances(**tolerances)
    return GateFinding(
        checks=judge(*runs, chosen),
        baseline=runs[0].info,
        candidate=runs[1].info,
        tolerances=chosen,
        seen=0,
        total=0,
    ).verdict


@pytest.mark.parametrize(
    ("lost", "won", "n", "max_drop", "answer"),
    [
        (0, 0, 400, 0.01, "pass"),
        (
            0,
            0,
            100,
            0.01,
            "undecided",
        ),  # no change in 100 samples does not rule out a drop of a point
        (60, 0, 400, 0.01, "regression"),
        (0, 60, 400, 0.01, "pass"),
        (60, 52, 400, 0.01, "undecided"),
        (2, 0, 400, 0.0, "undecided"),
        (10, 0, 400, 0.0, "regression"),
        (10, 0, 400, 0.1, "pass"),
    ],
)
def test_every_answer(
    pair: Pair, lost: int, won: int, n: int, max_drop: float, answer: str
) -> None:
    """A drop is called a regression or tolerable only where the samples show it."""
    runs = pair(200 if n > 200 else 40, lost, won, n)
    assert verdict(runs, robust=max_drop) == answer
    assert verdict(runs, robust=max_drop, these_samples=True) == (
        "regression" if (lost - won) / n > max_drop else "pass"
    )


def test_the_numbers_are_those_of_a_plain_loop(pair: Pair) -> None:
    """Rates, lost and won, and exact p values; clean accuracy is there though not limited."""
    runs = pair(200, 30, 5, 400)
    robust, clean = judge(*runs, Tolerances(robust=0.02))
    assert (robust.metric, robust.n, robust.lost, robust.won) == (ROBUST, 400, 30, 5)
    assert (robust.baseline, robust.candidate, robust.drop) == (230 / 400, 205 / 400, 25 / 400)
    assert robust.mcnemar_p == pytest.approx(binomtest(30, 35).pvalue)
    assert (robust.p_regression, robust.p_pass) == drop_p_values(30, 5, 400, 0.02)
    assert robust.low < robust.drop < robust.high
    assert (clean.metric, clean.drop, clean.tolerance, clean.decision) == (
        CLEAN,
        0.0,
        None,
        "not shown",
    )


def test_samples_are_joined_by_their_id(tmp_path: Path, pair: Pair, make_run: Any) -> None:
    """The order of rows does not matter, and only common samples count."""
    first, second = pair(100, 50, 3, 300)
    rows = second.samples.to_pylist()[50:]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    rows = [
        {**row, "sample_index": i, "run_id": "cccc"} for i, row in zip(order, rows, strict=True)
    ]
    third = read_run(Store(tmp_path).write(make_run("cccc", rows), rows))
    check = judge(first, third, Tolerances())[0]
    assert (check.n, check.lost, check.won) == (250, 50, 3)


def test_clean_accuracy_has_its_own_tolerance(pair: Pair, tmp_path: Path, make_run: Any) -> None:
    """A candidate as robust, but wrong on more clean samples, fails only if clean is limited."""
    first, second = pair(100, 0, 0, 400)
    rows = second.samples.to_pylist()
    wrong = [{**row, "clean_correct": row["robust"], "run_id": "cccc"} for row in rows[:200]] + [
        {**row, "run_id": "cccc"} for row in rows[200:]
    ]
    third = read_run(Store(tmp_path).write(make_run("cccc", wrong), wrong))
    assert verdict((first, third)) == "pass"
    assert verdict((first, third), clean=0.05) == "regression"
    assert verdict((first, third), clean=0.4) == "pass"


def test_median_margin(pair: Pair) -> None:
    """Margins half at 1, half at -1 have their median at the edge; losing a third moves it by 2."""
    runs = pair(200, 100, 0, 400)
    (margin,) = [check for check in judge(*runs, Tolerances(margin=0.5)) if check.metric == MARGIN]
    assert (margin.baseline, margin.candidate, margin.drop) == (1.0, 0.0, 1.0)
    assert margin.method == "bootstrap"
    lost = pair(100, 200, 0, 400)
    (margin,) = [check for check in judge(*lost, Tolerances(margin=0.5)) if check.metric == MARGIN]
    assert (margin.drop, margin.low, margin.decision) == (2.0, 2.0, "regression")
    same = pair(300, 0, 0, 400)
    assert verdict(same, margin=0.0) == "pass"
    assert verdict(lost, margin=0.5, robust=0.99) == "regression"
    assert verdict(lost, margin=2.0, robust=0.99, these_samples=True) == "pass"


def test_runs_without_a_budget_are_judged_by_distance(
    tmp_path: Path, make_samples: Any, make_run: Any
) -> None:
    """The median of the smallest perturbations, inf where none; robust accuracy does not count."""
    runs = []
    for run_id, scale in (("aaaa", 1.0), ("bbbb", 0.5), ("cccc", 1.0)):
        rows = verdicts(make_samples(300), [i % 10 == 0 for i in range(300)])
        rows = [
            {**row, "dist_linf": None if row["robust"] else scale * (1 + i / 300)}
            for i, row in enumerate(rows)
        ]
        run = make_run(run_id, rows, eps=math.inf, threat="linf:inf")
        runs.append(read_run(Store(tmp_path).write(run, rows)))
    for tolerances in (Tolerances(), Tolerances(margin=0.1, per_class=0.1)):
        with pytest.raises(UserError, match="--max-margin-drop"):
            judge(runs[0], runs[1], tolerances)
    checks = judge(runs[0], runs[1], Tolerances(margin=0.1))
    assert [check.metric for check in checks] == [CLEAN, DISTANCE]
    sizes = sorted(math.inf if i % 10 == 0 else 1 + i / 300 for i in range(300))
    assert checks[1].baseline == pytest.approx((sizes[149] + sizes[150]) / 2, rel=1e-6)
    assert checks[1].decision == "regression"
    assert judge(runs[0], runs[2], Tolerances(margin=0.1))[1].decision == "pass"


def test_a_class_fails_alone(tmp_path: Path, make_samples: Any, make_run: Any) -> None:
    """One class of ten loses half: tolerated over all, shown in the class, corrected by Holm."""
    runs = []
    for run_id, lost in (("aaaa", 0), ("bbbb", 20)):
        rows = [{**row, "label": i % 10} for i, row in enumerate(make_samples(400))]
        rows = verdicts(rows, [not (i % 10 == 7 and i // 10 < lost) for i in range(400)])
        runs.append(read_run(Store(tmp_path).write(make_run(run_id, rows), rows)))
    checks = judge(*runs, Tolerances(robust=0.1, per_class=0.1))
    assert [check.metric for check in checks[2:]] == [f"class {label}" for label in range(10)]
    assert [check.decision for check in checks[2:]] == ["not shown"] * 7 + ["regression"] + [
        "not shown"
    ] * 2
    assert checks[9].p_regression == pytest.approx(10 * drop_p_values(20, 0, 40, 0.1)[0])
    assert checks[0].decision == "pass"
    assert verdict((runs[0], runs[1]), robust=0.1, per_class=0.1) == "regression"
    assert verdict((runs[0], runs[1]), robust=0.1, per_class=0.6) == "pass"


def test_enough_samples_are_enough() -> None:
    """The `needed` samples decide in four of five simulated cases, and are never too few."""
    lost, won, n, tolerance = 10, 8, 200, 0.05
    needed = needed_for_rate(lost, won, n, tolerance, 0.05)
    assert needed > n
    draws = np.random.default_rng(0).multinomial(
        needed, [lost / n, won / n, 1 - (lost + won) / n], size=200
    )
    passed = np.mean(
        [drop_p_values(int(a), int(b), needed, tolerance)[1] <= 0.05 for a, b, _ in draws]
    )
    assert 0.7 < passed < 0.98
    assert needed_for_rate(4, 2, 200, 0.01, 0.05) is None  # just what is tolerated


def test_what_must_not_be_compared_is_refused(pair: Pair) -> None:
    """What differs is named, with both runs."""
    changes = {
        "data_hash": "y",
        "data": "mnist",
        "norm": "l2",
        "threat": "l2:0.15",
        "attack_params": '["fgsm"]',
    }
    with pytest.raises(
        UserError, match=r"bbbb .*baseline aaaa .*data: digits and mnist; threat: .* attack: "
    ) as error:
        judge(*pair(5, 0, 0, 10, **changes), Tolerances())
    assert "\n" not in str(error.value)


def test_no_common_samples(tmp_path: Path, make_samples: Any, make_run: Any) -> None:
    """The same fingerprint, and yet other samples: files that were mixed up."""
    runs = []
    for run_id, first in (("aaaa", 0), ("bbbb", 500)):
        rows = make_samples(10, first=first)
        runs.append(read_run(Store(tmp_path).write(make_run(run_id, rows), rows)))
    with pytest.raises(UserError, match="no sample in common"):
        judge(*runs, Tolerances())


@pytest.mark.parametrize(
    "bad",
    [
        {"robust": -0.1},
        {"robust": 1.0},
        {"clean": -1},
        {"per_class": 2},
        {"margin": -1},
        {"alpha": 0},
        {"alpha": 0.5},
    ],
)
def test_tolerances_out_of_range(bad: dict[str, float]) -> None:
    """One line that says the range."""
    with pytest.raises(UserError, match="is"):
        Tolerances(**bad)
