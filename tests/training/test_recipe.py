"""A recipe: its limits, and that a config is one."""

from __future__ import annotations

import dataclasses

import pytest

from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.tasks.train.config import TrainConfig
from robbench.training.recipe import Recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("lr", 0),
        ("momentum", 1),
        ("warmup", 1.1),
        ("ema_decay", 0),
        ("seed", -1),
        ("optimizer", "lion"),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    """The setting is named, for a recipe as for a config."""
    for cls in (Recipe, TrainConfig):
        with pytest.raises(UserError, match=f"^train: {name}="):
            validate(cls, {name: value}, "train")


def test_a_config_is_a_recipe():
    """It adds settings and changes no default."""
    config = TrainConfig()
    assert isinstance(config, Recipe)
    assert dataclasses.asdict(Recipe()).items() <= dataclasses.asdict(config).items()
