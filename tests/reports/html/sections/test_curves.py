"""Security curves of the page, over seeds too."""

from __future__ import annotations

import json
import math
from statistics import fmean, stdev

import pytest

from robbench.reports.html.data import ReportData
from robbench.reports.html.sections.curves import security_curves
from robbench.tasks.attack.threats import parse_threats


@pytest.fixture
def seeded(add_run, handmade_rows):
    """Two recipes of two seeds; so many of 40 samples are robust."""

    def rows(robust):
        return [
            {**row, "robust": i < robust, "adversarial": i >= robust}
            for i, row in enumerate({**row, "clean_correct": True} for row in handmade_rows())
        ]

    return [
        add_run(
            f"{name}{seed}".ljust(12, "0"),
            rows(robust),
            model=f"{name}-s{seed}",
            model_hash=f"{name}{seed}",
            train_seed=seed,
            train_config=json.dumps({"loss": name, "seed": seed}),
        )[1]
        for name, seed, robust in (("ce", 0, 8), ("at", 0, 20), ("ce", 1, 12), ("at", 1, 32))
    ]


def test_over_seeds_a_line_is_the_mean_and_its_band_one_standard_deviation(seeded):
    """One line for each recipe, in the colour of its place among all recipes."""
    (plot, _) = security_curves(ReportData(seeded, over_seeds=True)).blocks
    rows = {row[0].text: row for row in plot.data.rows if row[1].key}
    for name, rates in (
        ("ce (2 seeds)", (0.2, 0.3)),
        ("at (2 seeds)", (0.5, 0.8)),
    ):
        mean, spread = fmean(rates), stdev(rates)
        assert rows[name][2].key == pytest.approx(mean)
        assert rows[name][3].text == (
            f"{100 * (mean - spread):.1f}-{100 * min(1, mean + spread):.1f}"
        )
    lines = [trace for trace in plot.figure.data if trace.showlegend is None]
    assert [trace.name for trace in lines] == ["ce (2 seeds)", "at (2 seeds)"]


def test_over_seeds_figures_of_samples_are_of_the_first_seed(seeded):
    """And the page says whose."""
    material = ReportData(seeded, over_seeds=True)
    assert [run.info["model"] for run in material.shown] == ["ce-s0", "at-s0"]
    assert "ce-s0, at-s0" in material.one_seed
    assert ReportData(seeded).shown == seeded
    assert ReportData(seeded).one_seed == ""


def test_a_curve_of_steps_has_a_short_table(add_run):
    """Its two ends and points between, falling."""
    run = add_run("a" * 12, eps=math.inf, threat="linf:inf")[1]
    (plot,) = security_curves(ReportData([run])).blocks
    rates = [row[2].key for row in plot.data.rows]
    assert 3 <= len(rates) <= 11
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == run.info["clean_accuracy"]


@pytest.mark.parametrize(
    ("threat", "eps", "advice"),
    [
        ("linf:8/255", 8 / 255, "linf:2/255,4/255,8/255"),
        ("linf:0.15", 0.15, "linf:0.0375,0.075,0.15"),
        ("l2:1", 1.0, "l2:0.25,0.5,1"),
    ],
)
def test_one_budget_is_no_curve(add_run, threat: str, eps: float, advice: str) -> None:
    """The advice is of the run's own norm and size, and what `--threat` takes."""
    norm = threat.partition(":")[0]
    run = add_run("a" * 12, threat=threat, norm=norm, eps=eps)[1]
    section = security_curves(ReportData([run]))
    assert f"--threat {advice} gives a curve" in str(section.blocks[-1])
    (budgets,) = parse_threats([advice])
    assert [each.eps for each in budgets] == pytest.approx([eps / 4, eps / 2, eps])


@pytest.mark.parametrize(
    ("threat", "eps", "advice"), [("l0:8", 8.0, "l0:2,4,8"), ("l0px:3", 3.0, "l0px:1,3")]
)
def test_a_number_of_entries_is_whole(add_run, threat: str, eps: float, advice: str) -> None:
    run = add_run("a" * 12, threat=threat, norm=threat.partition(":")[0], eps=eps)[1]
    assert f"--threat {advice} gives" in str(security_curves(ReportData([run])).blocks[-1])
    (budgets,) = parse_threats([advice])
    assert budgets[-1].eps == eps


def test_a_single_entry_has_no_smaller_budget(add_run) -> None:
    run = add_run("a" * 12, threat="l0:1", norm="l0", eps=1.0)[1]
    assert "gives a curve" not in str(security_curves(ReportData([run])).blocks)


def test_a_corruption_has_a_severity(add_run):
    """No epsilon and no budget, and no advice to attack fractions of it."""
    facts = {"threat": "corruption:zoom_blur@3", "norm": "corruption:zoom_blur", "eps": 3.0}
    (plot,) = security_curves(ReportData([add_run("a" * 12, **facts)[1]])).blocks
    assert plot.figure.layout.xaxis.title.text == "severity of zoom blur"
    assert plot.data.heads[1].text == "severity"
    assert plot.data.caption == "Robust accuracy on digits test against the severity of zoom blur"
    assert all("severity %" in one.hovertemplate for one in plot.figure.data if one.hovertemplate)
