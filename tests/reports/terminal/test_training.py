"""The last lines of `robbench train`: validation of the best and of the last epoch."""

from __future__ import annotations

import math

from robbench.analysis.forecast import TrainForecast
from robbench.reports.terminal.training import training_line, validation, validation_lines

EPOCHS = [
    {"epoch": 1, "clean_accuracy": 0.5, "robust_accuracy": 0.2},
    {"epoch": 2, "clean_accuracy": 0.91, "robust_accuracy": 0.44},
    {"epoch": 3, "clean_accuracy": 0.925, "robust_accuracy": 0.41},
]
SELECTED = {"model": "best", "epoch": 2, "best_epoch": 2}


def test_best_and_last_are_both_there_and_the_model_is_marked():
    assert validation_lines(EPOCHS, SELECTED) == [
        "  best epoch 2: validation 91.0% clean, 44.0% robust <- the model",
        "  last epoch 3: validation 92.5% clean, 41.0% robust",
    ]
    assert validation_lines(EPOCHS, SELECTED | {"model": "last"})[1].endswith("<- the model")


def test_the_same_as_fields():
    assert validation(EPOCHS, SELECTED) == {
        "best": {"epoch": 2, "clean_accuracy": 0.91, "robust_accuracy": 0.44},
        "last": {"epoch": 3, "clean_accuracy": 0.925, "robust_accuracy": 0.41},
    }


def test_without_validation_no_number_is_claimed():
    """NaN in a training of this process, null in its table."""
    for nothing in (math.nan, None):
        row = {"epoch": 1, "clean_accuracy": nothing, "robust_accuracy": nothing}
        chosen = {"model": "last", "epoch": 1, "best_epoch": 1}
        assert validation_lines([row], chosen) == []
        assert validation([row], chosen)["last"]["robust_accuracy"] is None
    assert validation_lines([], chosen) == []


def test_the_forecast_of_its_steps():
    found = TrainForecast(seconds=360.0, steps=4000, seconds_per_step=0.09, device="cpu (1 thread)")
    assert training_line(found) == (
        "about 6 min on cpu (1 thread): 4,000 steps of 90 ms, as measured; validation comes on top"
    )
