"""What a bar shows of an attack: certain bounds, queries per second, and the time left."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.analysis.forecast import LOOKS, Forecast, Part
from robbench.core.spec import validate
from robbench.engine.progress import EntryProgress, Work
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.progress import Progress, expected_work, shown_on, step_seconds
from robbench.tasks.listener import Bar


class Noting(Bar):
    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []

    def update(self, share: float, text: str, left: str = "") -> None:
        self.lines.append((share, text, left))


def plan(out: Path, threat: str = "linf:0.1", **settings: object) -> AttackPlan:
    config = validate(
        AttackConfig,
        {"data": "digits", "limit": 10, "threat": [threat], "attack": ["pgd:steps=9"], **settings},
        "attack",
    )
    return next(plan_attacks(["mlp:width=8,depth=1"], config, out=out, device="cpu"))


def now(decided: int, broken: int, robust: int, work: Work) -> Progress:
    entries = [EntryProgress("pgd:steps=9", 10, decided, broken)]
    return Progress(decided, 10, broken, robust, 0.2, entries, work)


WORK = Work(samples=10, begun=10, per_sample=10, spent=20, open=20, queries=400)


def test_before_anything_is_decided_it_says_how_fast_it_is_and_what_is_left(tmp_path):
    clock, bar = [100.0], Noting()
    watch = shown_on(bar, plan(tmp_path), None, lambda: clock[0])
    watch(now(0, 0, 0, Work(samples=10, waiting=10, per_sample=10)))
    clock[0] += 4
    watch(now(0, 0, 0, WORK))
    assert bar.lines == [
        (0.2, "0/10 decided, robust accuracy at most 100.0% (95 %: to 100.0%)",
         "no estimate of the time left"),
        (0.2, "0/10 decided, robust accuracy at most 100.0% (95 %: to 100.0%), 100 queries/s",
         "about 16 s left"),
    ]  # fmt: skip


def test_the_rate_of_a_corruption_which_has_no_attacks_counts_from_its_begin(tmp_path):
    clock, bar = [100.0], Noting()
    watch = shown_on(bar, plan(tmp_path), None, lambda: clock[0])
    for queries in (0, 40, 80):
        watch(Progress(queries // 8, 10, 0, queries // 8, 0.2, [], Work(queries=queries)))
        clock[0] += 2
    rates = [text.rpartition(", ")[2] for _, text, _ in bar.lines]
    assert rates[1:] == ["20 queries/s", "20 queries/s"]


def test_a_forecast_tells_sooner_that_samples_fall(tmp_path):
    """Earlier runs needed 50 of the 100 steps: 30 more at 0.2 s each."""
    chosen = plan(tmp_path)
    parts = (Part(LOOKS, 4, 0.1, (1.0,)), Part("pgd:steps=9", 19, 0.5, (10.0,)))
    forecast = Forecast(10, parts, ("run",), "cpu")
    assert expected_work(forecast) == 10 * 10 * 0.5
    assert step_seconds(chosen, forecast) == [2 * 0.5]
    clock, bar = [0.0], Noting()
    watch = shown_on(bar, chosen, forecast, lambda: clock[0])
    watch(now(0, 0, 0, Work()))
    clock[0] += 4
    watch(now(0, 0, 0, WORK))
    assert bar.lines[-1][2] == "about 6 s left, at most 16 s"


def test_nothing_is_left_of_what_is_done(tmp_path):
    """Though the last steps were not what the estimate expected."""
    clock, bar = [0.0], Noting()
    watch = shown_on(bar, plan(tmp_path), None, lambda: clock[0])
    watch(now(0, 0, 0, Work()))
    clock[0] += 4
    watch(now(10, 3, 7, WORK))
    assert bar.lines[-1][2] == "done"


def test_unfinished_samples_are_neither_robust_nor_broken(tmp_path):
    bar = Noting()
    shown_on(bar, plan(tmp_path), None)(now(9, 3, 4, WORK))
    assert "9/10 decided, robust accuracy 40.0% to 70.0% (95 %: " in bar.lines[0][1]


def test_without_a_budget_there_is_no_robust_accuracy(tmp_path):
    bar = Noting()
    chosen = plan(tmp_path, "l2:inf", attack=["fmn:steps=2"])
    shown_on(bar, chosen, None, lambda: 0.0)(now(2, 2, 0, WORK))
    assert bar.lines[0][1] == "2/10 decided"


def test_a_limit_of_time_is_the_most_that_is_left(tmp_path):
    clock, bar = [0.0], Noting()
    watch = shown_on(bar, plan(tmp_path, max_time="7s"), None, lambda: clock[0])
    watch(now(0, 0, 0, Work()))
    clock[0] += 4
    watch(now(0, 0, 0, WORK))
    assert bar.lines[-1][2] == "about 3 s left"


def test_another_packages_attack_leaves_no_estimate(tmp_path):
    clock, bar = [0.0], Noting()
    forecast = Forecast(10, (Part(LOOKS, 4, 0.1), Part("theirs", None, 0.5)), (), "cpu")
    watch = shown_on(bar, plan(tmp_path), forecast, lambda: clock[0])
    watch(now(0, 0, 0, Work()))
    clock[0] += 4
    watch(now(0, 0, 0, WORK))
    assert bar.lines[-1][2] == "no estimate of the time left"
    assert step_seconds(plan(tmp_path), forecast) == pytest.approx([0.5])
