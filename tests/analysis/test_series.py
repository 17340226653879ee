"""Runs as lines of a figure: names and order."""

from __future__ import annotations

import math

import pytest

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


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"subset": "first=20", "data_hash": "d2"}, ["ce, all samples", "ce, first=20"]),
        ({"data_hash": "d2"}, ["ce, all samples d1", "ce, all samples d2"]),
        ({"max_time_s": 60.0}, ["ce, limits none", "ce, limits 60s"]),
        ({"subset": "first=40"}, ["ce"]),
    ],
)
def test_what_must_not_be_compared_is_not_joined_to_a_line(add_run, changes, names):
    """Other samples and limits are lines of their own; one fingerprint under two names is not."""
    same = {"subset": None, "data_hash": "d1", "max_time_s": None}
    runs = [
        add_run("a" * 12, eps=0.1, **same)[1],
        add_run("b" * 12, eps=0.2, **{**same, **changes})[1],
    ]
    series = series_by_facts(runs)["digits", "test", "linf"]
    assert [one.name for one in series] == names
    assert [one.attack_place for one in series] == list(range(len(names)))
    assert sum(len(one.runs) for one in series) == 2


def test_an_attack_of_other_settings_under_one_name_is_a_line_of_its_own(add_run):
    """As its defaults may change; with another attack beside it the names alone tell."""
    runs = [
        add_run(name * 12, eps=eps, attack=attack, attack_params=params)[1]
        for name, eps, attack, params in (
            ("a", 0.1, "pgd", '["pgd:steps=5"]'),
            ("b", 0.2, "pgd", '["pgd:steps=9"]'),
            ("c", 0.2, "fgsm", '["fgsm"]'),
        )
    ]
    first, second, third = (one.name for one in series_by_facts(runs)["digits", "test", "linf"])
    assert first != second
    assert all(name.startswith("ce, pgd, settings ") for name in (first, second))
    assert third == "ce, fgsm"
    others = series_by_facts([runs[0], runs[2]])["digits", "test", "linf"]
    assert [one.name for one in others] == ["ce, pgd", "ce, fgsm"]
