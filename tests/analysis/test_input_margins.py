"""Input margins, censoring, security curves and areas, by hand and against separate attacks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.input_margins import (
    InputMargins,
    input_margins,
    runs_alike,
)

INF = math.inf


IDS = [1000 + 7 * i for i in range(5)]


def robust_accuracy(margins: InputMargins, eps: float) -> float:
    """What the curve says at `eps`; NaN beyond its end."""
    steps, rates = margins.curve()
    return (
        rates[np.searchsorted(steps, eps, side="right") - 1] if eps <= margins.reach else math.nan
    )


def test_censoring_by_hand(run):
    """Found sizes are margins; others are censored at the largest eps they were attacked at."""
    runs = [
        run("linf:0.1", [0.05, None, None, 0.0, 0.1]),
        run("linf:0.2", [0.15, 0.2, None, 0.0, 0.1]),
    ]
    found = input_margins(IDS, runs)
    assert set(found) == {"linf"}
    margins = found["linf"]
    assert margins.smallest.tolist() == pytest.approx([0.05, 0.2, INF, 0.0, 0.1])
    assert margins.censored.tolist() == [False, False, True, False, False]
    assert margins.withstood.tolist() == pytest.approx([0, 0.1, 0.2, 0, 0])
    assert margins.attacked.tolist() == [0.2] * 5
    assert (margins.reach, margins.eps, margins.runs) == (0.2, (0.1, 0.2), ("run0", "run1"))


def test_curve_and_area_by_hand(run):
    """Steps down at every margin, up to the smallest censoring; the area is the truncated mean."""
    runs = [
        run("linf:0.1", [0.05, None, None, 0.0, 0.1]),
        run("linf:0.2", [0.15, 0.2, None, 0.0, 0.1]),
    ]
    margins = input_margins(IDS, runs)["linf"]
    eps, robust = margins.curve()
    assert eps == pytest.approx([0, 0.05, 0.1, 0.2])
    assert robust == pytest.approx([4 / 5, 3 / 5, 2 / 5, 1 / 5])
    low, high = margins.area()
    assert high == pytest.approx((0.05 + 0.2 + 0.2 + 0 + 0.1) / 5)
    assert high == pytest.approx(
        0.05 * 0.8 + 0.05 * 0.6 + 0.1 * 0.4
    )  # the same as rectangles under the steps
    assert low == pytest.approx((0 + 0.1 + 0.2 + 0 + 0) / 5)
    assert margins.area(0.1)[1] == pytest.approx((0.05 + 0.1 + 0.1 + 0 + 0.1) / 5)
    assert math.isnan(margins.area(0.3)[1])
    assert [robust_accuracy(margins, e) for e in (0, 0.07, 0.2)] == pytest.approx([0.8, 0.6, 0.2])
    assert math.isnan(robust_accuracy(margins, 0.21))


def test_a_smaller_censoring_ends_the_curve(run):
    """A sample attacked only at a smaller eps is known up to there: so is the share of all."""
    runs = [run("linf:0.1", [0.05, None]), run("linf:0.3", [None], first=0)]
    margins = input_margins(IDS[:2], runs)["linf"]
    assert margins.attacked.tolist() == [0.3, 0.1]
    assert margins.censored.tolist() == [False, True]
    assert margins.reach == 0.1
    assert margins.curve()[0] == pytest.approx([0, 0.05, 0.1])


def test_minimum_norm_runs_leave_nothing_open(run):
    """Without a budget nothing is censored and low = high; what it did not break stays infinite."""
    runs = [run("l2:inf", [0.5, 1.5, 0.0]), run("l2:1", [0.7, None, 0.0])]
    margins = input_margins(IDS[:3], runs)["l2"]
    assert not margins.censored.any()
    assert margins.smallest.tolist() == [0.5, 1.5, 0]
    assert margins.area() == pytest.approx((2 / 3, 2 / 3))
    assert margins.end == 1.5
    failed = input_margins(IDS[:2], [run("l2:inf", [0.5, None])])["l2"]
    assert failed.reach == INF
    assert failed.curve() == ([0, 0.5], [1, 0.5])


def test_other_norms_attacks_count_as_upper_ends(run):
    """An l2 success is small in linf too; but it says nothing of how far linf attacks looked."""
    runs = [run("linf:0.1", [None, None]), run("l2:1", [0.8, 0.9], other=0.4)]
    margins = input_margins(IDS[:2], runs)
    assert margins["linf"].smallest.tolist() == pytest.approx([0.4, 0.4])
    assert margins["linf"].censored.all()
    assert margins["linf"].reach == 0.1
    assert margins["l2"].smallest.tolist() == pytest.approx([0.8, 0.9])


def test_samples_and_runs_are_joined_by_id(run):
    """A run on other samples changes nothing; a norm's margins are of samples attacked in it."""
    runs = [
        run("linf:0.1", [0.05, None, 0.1]),
        run("l2:1", [0.5, 0.25], first=2),
        run("linf:0.1", [0.01], first=50),
    ]
    found = input_margins(IDS, runs)
    assert found["linf"].sample_id.tolist() == IDS[:3]
    assert found["l2"].sample_id.tolist() == IDS[2:4]
    assert "run2" not in found["linf"].runs


def test_a_run_with_limits_takes_nothing_from_one_that_went_to_its_end(run):
    """In whatever order: a sample is unfinished only above the largest eps that it withstood."""
    runs = [run("linf:0.1", [None, None]), run("linf:0.1", [None, None], status=3)]
    for given in (runs, runs[::-1]):
        found = input_margins(IDS[:2], given)["linf"]
        assert (found.unfinished.tolist(), found.withstood.tolist()) == ([False] * 2, [0.1] * 2)
    more = input_margins(IDS[:2], [runs[0], run("linf:0.2", [None, 0.15], status=3)])["linf"]
    assert more.unfinished.tolist() == [True, True]


def test_rounding_keeps_a_success_inside_its_budget(run):
    """A float32 size a hair above eps counts at eps, as in its run."""
    margins = input_margins(IDS[:1], [run("linf:0.1", [0.1000001])])["linf"]
    assert robust_accuracy(margins, 0.1) == 0


def test_unfinished_samples_are_counted(run):
    """They count as they do in robust accuracy; how many there are is told."""
    margins = input_margins(IDS[:2], [run("linf:0.1", [None, 0.1], status=3)])["linf"]
    assert margins.unfinished.tolist() == [True, True]
    assert margins.withstood.tolist() == [
        0,
        0,
    ]  # what was not attacked to the end has withstood nothing
    assert robust_accuracy(margins, 0.1) == 0.5


def test_only_runs_of_the_same_weights_count(run, tmp_path):
    """Other weights, or the same in another architecture, are another model."""
    run("linf:0.1", [None], model_hash="a")
    run("linf:0.2", [0.15], model_hash="a")
    run("linf:0.2", [0.01], model_hash="b")
    run("linf:0.2", [0.02], model_hash="a", model_arch="other")
    path = tmp_path / "results" / "runs" / "run0.parquet"
    assert [found.info["run_id"] for found in runs_alike(path)] == ["run0", "run1"]


def test_random_runs_agree_with_counting(run):
    """Robust accuracy at any eps is what counting the rows of all runs gives."""
    rng = np.random.default_rng(0)
    runs, rows = [], []
    for eps in (0.05, 0.1, 0.2):
        sizes = [None if rng.random() < 0.5 else float(rng.random() * eps) for _ in IDS]
        rows.append(sizes)
        runs.append(run(f"linf:{eps}", sizes))
    margins = input_margins(IDS, runs)["linf"]
    for eps in rng.random(20) * 0.2:
        counted = [
            not any(s[i] is not None and np.float32(s[i]) <= eps for s in rows)
            for i in range(len(IDS))
        ]
        assert robust_accuracy(margins, eps) == pytest.approx(np.mean(counted))
