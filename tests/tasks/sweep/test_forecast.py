"""The cost of a sweep: each kind measured once, the rest is arithmetic."""

import pytest

from robbench.analysis.forecast import TrainForecast
from robbench.tasks.listener import Bar
from robbench.tasks.sweep import forecast as module
from robbench.tasks.sweep.forecast import forecast_sweep
from robbench.tasks.sweep.grid import parse_axis
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.start import Place, ahead

FIXED = {"model": "mlp:width=4,depth=1", "limit": 60, "attack": "pgd:steps=5", "epochs": 2}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Forecasts with a training measured as one second per epoch; the trainings measured."""
    seen = []

    def training(plan):
        seen.append(plan.config.loss)
        return TrainForecast(float(plan.config.epochs), 1, 0.1, "cpu")

    monkeypatch.setattr(module, "forecast_training", training)
    place = Place(tmp_path, device="cpu")

    def forecast(*grid, **fixed):
        axes = tuple(parse_axis(text) for text in grid)
        return forecast_sweep(ahead(Request(name="s", grid=axes, fixed=fixed), place), place)

    return forecast, seen


def test_each_kind_of_training_is_measured_once(measured, tmp_path):
    forecast, seen = measured
    found = forecast("loss=cross-entropy,label-smoothing", "seed=0..4", **FIXED)
    assert sorted(seen) == ["cross-entropy", "label-smoothing"]
    assert (found.n_trainings, found.n_attacks, found.guessed) == (10, 10, 0)
    assert found.trainings == pytest.approx(10 * 2.0)
    assert list(tmp_path.iterdir()) == []


def test_attacks_cost_what_the_plain_command_says(measured, cli, trained):
    forecast, _ = measured
    found = forecast("seed=0..2", "threat=linf:0.05,linf:0.1", **FIXED)
    words = "attack mlp:width=4,depth=1 --data digits --limit 60 --attack pgd:steps=5"
    plain = cli(f"{words} --threat linf:0.1 --dry-run --out", trained).json["forecasts"][0]
    assert found.queries_at_most == 6 * plain["queries_at_most"]
    assert found.attacks is None  # no earlier run
    assert found.attacks_at_most > 0
    assert found.kinds == 3  # a training, two budgets


def test_kinds_beyond_the_most_count_as_the_mean(measured, monkeypatch):
    monkeypatch.setattr(module, "MOST_KINDS", 2)
    forecast, seen = measured
    found = forecast("loss=cross-entropy,label-smoothing,sovr,mart", **FIXED)
    assert len(seen) == 2
    assert found.trainings == pytest.approx(4 * 2.0)
    assert found.guessed == 2


def test_an_attack_that_does_not_say_its_cost(measured):
    forecast, _ = measured
    found = forecast("seed=0", **{**FIXED, "attack": "foolbox:attack=LinfPGD"})
    assert found.queries_at_most is None


def test_what_is_measured_is_said_as_it_happens(measured, monkeypatch):
    seen = []
    monkeypatch.setattr(Bar, "update", lambda _, share, text, left="": seen.append((share, text)))
    measured[0]("loss=cross-entropy,mart", "seed=0..1", **FIXED)
    assert [share for share, _ in seen] == [0, 1 / 3, 2 / 3]  # the two models are attacked alike
    assert [text.rpartition(", ")[2] for _, text in seen] == ["1 of 3", "2 of 3", "3 of 3"]
