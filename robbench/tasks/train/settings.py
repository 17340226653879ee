"""The settings of a training from all their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.catalogue.recipes import read_recipe
from robbench.core.config import load_config
from robbench.core.spec import validate
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.start import settings_of


def read_settings(
    *,
    recipe: str | None,
    file: Path | None,
    sets: Sequence[str],
    flags: Mapping[str, Any],
    out: Path,
) -> TrainConfig:
    """Merge flags, `--set`, variables, a file, a recipe and the model to start from, in this order.

    Raises UserError that names the source of a bad setting.
    """
    base = read_recipe(recipe) if recipe else {}
    settings = load_config(TrainConfig, "train", file=file, sets=sets, flags=flags, base=base)
    if settings.from_model is None:
        return settings
    base = {**settings_of(settings.from_model, out), **base}
    return load_config(TrainConfig, "train", file=file, sets=sets, flags=flags, base=base)


def settings_by_name(settings: Mapping[str, Any], *, recipe: str | None, out: Path) -> TrainConfig:
    """Settings above a recipe and those of the model to start from, no variables and no file.

    Raises UserError for what is unknown or does not fit.
    """
    base = dict(read_recipe(recipe)) if recipe else {}
    config = validate(TrainConfig, {**base, **settings}, "train")
    if config.from_model is None:
        return config
    start = settings_of(config.from_model, out)
    return validate(TrainConfig, {**start, **base, **settings}, "train")


def settings_with_recipe(settings: Mapping[str, Any], out: Path) -> TrainConfig:
    """As `settings_by_name`, of settings that may name their `recipe` among them."""
    given = dict(settings)
    recipe = given.pop("recipe", None)
    return settings_by_name(given, recipe=recipe, out=out)
