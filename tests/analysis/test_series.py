"""Runs as lines of a figure: names and order."""

from __future__ import annotations

import math

from robbench.analysis.series import in_order, series_by_facts


def test_lines_are_told_apart_by_weights_and_attack(add_run):
    """Two trainings of one name show the start of their hash, two attacks are named."""
    runs = [
        add_run("a" * 12, model_hash="1111aaaa")[1],
        add_run("b" * 12, model_hash="2222bbbb")[1],
        add_run("c" * 12, model="at", model_hash="3333", attack="fmn", eps=math.inf)[1],
    ]
    series = series_by_facts(runs)["digits", "test", "linf"]
    assert [one.name for one in series] == ["ce 1111, pgd", "ce 2222, pgd", "at, fmn"]
    assert [(one.place, one.attack_place) for one in series] == [(0, 0), (1, 0), (2, 1)]


def test_runs_are_ordered_by_budget_and_the_first_of_each_stays_the_baseline(add_run):
    """Budgets rise; within one the given order stays."""
    runs = [
        add_run(name * 12, eps=eps, model=model)[1]
        for name, eps, model in (
            ("a", 0.2, "x"),
            ("b", 0.05, "x"),
            ("c", 0.2, "y"),
            ("d", 0.05, "y"),
        )
    ]
    assert [run.info["run_id"][0] for run in in_order(runs)] == ["b", "d", "a", "c"]
