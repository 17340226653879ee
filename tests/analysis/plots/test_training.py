"""Epochs as lines."""

from __future__ import annotations

import pytest

from robbench.analysis.plots.lines import mean_over_seeds
from robbench.analysis.plots.training import trainings
from robbench.core.errors import UserError


def epochs(*values, robust=True):
    return [
        {
            "epoch": i,
            "clean_accuracy": v,
            "robust_accuracy": v / 2 if robust else None,
            "train_loss": 2 - v,
        }
        for i, v in enumerate(values, 1)
    ]


def test_each_quantity_has_a_panel_with_every_epoch():
    """What was not validated is left out."""
    plotted = trainings({"ce": epochs(0.5, 0.9, robust=False), "at": epochs(0.4, 0.8)}, {})
    assert [(line.panel, line.name, line.y.tolist()) for line in plotted.lines] == [
        ("clean accuracy", "ce", [0.5, 0.9]),
        ("clean accuracy", "at", [0.4, 0.8]),
        ("robust accuracy", "at", [0.2, 0.4]),
        ("training loss", "ce", [1.5, 1.1]),
        ("training loss", "at", [1.6, 1.2]),
    ]
    row = next(plotted.rows())
    assert row == {"line": "ce", "quantity": "clean accuracy", "epoch": 1, "value": 0.5} | {
        "low": None,
        "high": None,
    }


def test_seeds_of_one_recipe_become_one_line():
    """Other settings stay apart."""
    made = trainings(
        {"at-s0": epochs(0.4, 0.8), "at-s1": epochs(0.6, 1.0), "ce": epochs(0.5, 0.9)},
        {
            "at-s0": {"seed": 0, "loss": "ce", "inner": "pgd"},
            "at-s1": {"seed": 1, "loss": "ce", "inner": "pgd"},
            "ce": {"seed": 0, "loss": "ce", "inner": None},
        },
        over_seeds=True,
    )
    first, second, *_ = mean_over_seeds(made).lines
    assert (first.name, first.y.tolist(), first.place) == ("at (2 seeds)", [0.5, 0.9], 0)
    assert (second.name, second.place) == ("ce (1 seed)", 1)


def test_no_epoch_is_said():
    """A training that was stopped before its first."""
    with pytest.raises(UserError, match="no epochs of ce"):
        trainings({"ce": []}, {})
