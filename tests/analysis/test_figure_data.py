"""The arrays behind the figures against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.distance_measures import measure_distances
from robbench.analysis.figure_data import by_class, curves, edges, input_margins, shares, sizes
from robbench.analysis.series import series_by_facts
from robbench.core.status import UNFINISHED


def test_a_security_curve_begins_at_clean_accuracy_and_has_each_runs_interval(add_run):
    """Budgets in any order: eps 0 is clean accuracy, then each run's robust accuracy and bounds."""
    runs = [add_run(name, eps=eps)[1] for name, eps in (("b" * 12, 0.2), ("a" * 12, 0.05))]
    (series,) = series_by_facts(runs)["digits", "test", "linf"]
    (curve,) = curves(series)
    assert curve.eps == [0.0, 0.05, 0.2]
    assert curve.rate == [0.9, runs[1].info["robust_accuracy"], runs[0].info["robust_accuracy"]]
    assert curve.low[1:] == [
        runs[1].info["robust_accuracy_low"],
        runs[0].info["robust_accuracy_low"],
    ]


def test_a_curve_to_a_target_begins_at_the_clean_inputs_that_are_not_of_it(add_run, handmade_rows):
    """Also with ties: a margin of 0 at the clean input is a success only if the target won it."""
    rows = handmade_rows(20, labels=2)
    for n, row in enumerate(rows):
        row |= {"clean_margin": 0.0, "adversarial": n < 8, "robust": n >= 8, "target": 3}
        row["broken_by"] = "clean" if n < 5 else "pgd" if n < 8 else None
    run = add_run("a" * 12, rows, eps=0.1, target="3", threat="linf:0.1 -> 3")[1]
    (series,) = series_by_facts([run])["digits", "test", "linf -> 3"]
    (curve,) = curves(series)
    assert (curve.eps, curve.rate) == ([0.0, 0.1], [15 / 20, 12 / 20])


def test_the_curve_of_a_run_without_a_budget_is_the_share_beyond_each_size(add_run, handmade_rows):
    """At every step of the curve: the samples without a smaller perturbation, counted singly."""
    rows = handmade_rows(eps=math.inf)
    _, run = add_run("a" * 12, rows, eps=math.inf)
    (curve,) = curves(series_by_facts([run])["digits", "test", "linf"][0])
    found = [np.float32(row["dist_linf"]) if row["clean_correct"] else 0.0 for row in rows]
    assert curve.steps
    assert curve.rate == [sum(size > eps for size in found) / 40 for eps in curve.eps]
    assert (curve.eps[0], curve.rate[0], curve.rate[-1]) == (0.0, 0.9, 0.0)
    assert all(
        low <= rate <= high
        for low, rate, high in zip(curve.low, curve.rate, curve.high, strict=True)
    )


def test_a_curve_of_ten_thousand_steps_is_thinned_but_keeps_its_ends(add_run, handmade_rows):
    """A figure needs no more points than pixels."""
    rows = handmade_rows(n=2000, eps=math.inf)
    (curve,) = curves(
        series_by_facts([add_run("a" * 12, rows, eps=math.inf)[1]])["digits", "test", "linf"][0]
    )
    assert len(curve.eps) <= 121
    assert curve.eps[-1] == max(np.float32(row["dist_linf"]) for row in rows)


def test_an_input_margin_is_the_smallest_of_all_runs_and_censored_where_none_found(
    add_run, handmade_rows
):
    """Two budgets of one model: the nearer success counts; robust at the larger is censored."""
    runs = [add_run(name, eps=eps)[1] for name, eps in (("a" * 12, 0.05), ("b" * 12, 0.2))]
    (margins,) = input_margins(series_by_facts(runs)["digits", "test", "linf"])
    wanted = [
        min((row["dist_linf"] for row in rows if row["adversarial"]), default=math.inf)
        for rows in zip(handmade_rows(eps=0.05), handmade_rows(eps=0.2), strict=True)
    ]
    assert margins.smallest.tolist() == pytest.approx(wanted, rel=1e-6)
    assert margins.censored == sum(map(math.isinf, wanted)) / 40 > 0
    assert (margins.name, margins.end, margins.sought) == ("ce", 0.2, False)


def test_samples_that_were_not_finished_have_withstood_nothing(add_run, handmade_rows):
    """Half of the robust samples ran out of time: they never count as "none found"."""
    rows = handmade_rows(eps=0.1)
    standing = [row for row in rows if row["robust"]]
    for row in standing[::2]:
        row["status"] = UNFINISHED
    path, run = add_run("a" * 12, rows)
    (margins,) = input_margins(series_by_facts([run])["digits", "test", "linf"])
    assert len(standing) > 8
    assert margins.unfinished == len(standing[::2]) / 40
    assert margins.censored == len(standing[1::2]) / 40
    measures, _ = measure_distances(path, "test", [row["sample_id"] for row in rows])
    detail = next(m.detail for m in measures if m.name == "input_margin_linf")
    assert (detail["censored"], detail["unfinished"]) == (len(standing), len(standing[::2]))


def test_a_point_of_an_attack_in_another_norm_counts(add_run, handmade_rows):
    """A perturbation found in l2 counts in linf, up to what was attacked there."""
    mine, other = handmade_rows(eps=0.05), handmade_rows(eps=0.2)
    for row in other:
        row["dist_l2"], row["dist_linf"] = (
            row["dist_linf"],
            0.03 if row["adversarial"] and row["clean_correct"] else row["dist_linf"],
        )
    runs = [
        add_run("a" * 12, mine, eps=0.05)[1],
        add_run("b" * 12, other, eps=0.2, norm="l2", threat="l2:0.2")[1],
    ]
    (margins,) = input_margins(series_by_facts(runs)["digits", "test", "linf"], runs)
    wanted = [
        min(
            a["dist_linf"] if a["adversarial"] else math.inf,
            b["dist_linf"] if b["adversarial"] else math.inf,
        )
        for a, b in zip(mine, other, strict=True)
    ]
    assert margins.smallest.tolist() == pytest.approx(wanted, rel=1e-6)
    assert 0.03 in wanted


def test_a_size_that_rounding_put_outside_of_the_budget_is_put_back(add_run, handmade_rows):
    """No perturbation found inside a budget is larger than the budget."""
    rows = handmade_rows(eps=0.1)
    fallen = next(row for row in rows if row["adversarial"] and row["clean_correct"])
    fallen["dist_linf"] = 0.1000001
    assert sizes(add_run("a" * 12, rows)[1])[fallen["sample_index"]] == 0.1


def test_shares_of_a_histogram_add_up_to_what_was_found(add_run):
    """Values beyond the ends go to the outermost bins; infinite ones to none."""
    values = np.array([-100.0, *np.linspace(0, 1, 998), 100.0, math.inf, math.inf])
    ends = edges([values])
    assert -1 < ends[0] < ends[-1] < 2
    assert sum(shares(values, ends)) == pytest.approx(1000 / 1002)
    assert shares(values, ends)[0] > 0
    assert np.isfinite(edges([np.full(3, math.inf)])).all()
    assert np.diff(edges([np.zeros(5)])).min() > 0


def test_robust_accuracy_by_class_counts_each_class_by_itself(add_run, handmade_rows):
    """A class without samples has no rate."""
    rows = handmade_rows(labels=4)
    rates, counts = by_class(add_run("a" * 12, rows)[1], 5)
    assert counts == [10, 10, 10, 10, 0]
    assert rates[:4] == [
        sum(row["robust"] for row in rows if row["label"] == c) / 10 for c in range(4)
    ]
    assert math.isnan(rates[4])
