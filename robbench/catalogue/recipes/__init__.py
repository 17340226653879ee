"""Recipes: training settings that ship with the package, one TOML file each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from robbench.core.errors import unknown


def recipes() -> dict[str, str]:
    """Names, and what each is for: the first line of its file."""
    files = sorted(Path(__file__).parent.glob("*.toml"), key=lambda file: file.stem)
    return {
        file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for file in files
    }


def read_recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe, by their names in the training config.

    Raises UserError with the nearest names.
    """
    if name not in recipes():
        raise unknown("recipe", name, recipes())
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))
