"""Model folders: their config.json, and their model or one of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from robbench.core.errors import UserError
from robbench.core.leftovers import is_temporary
from robbench.core.model_config import read_config
from robbench.models.weights import load_model


def stored_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a model folder, None where there is none.

    Raises UserError where it is damaged, or the folder holds something else.
    """
    for place in (folder.parent, folder):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, not a folder; choose another --name or --out")
    path = folder / "config.json"
    if not path.exists():
        if folder.exists() and not all(is_temporary(file.name) for file in folder.iterdir()):
            raise UserError(
                f"{folder} is not empty and holds no model of ours; choose another --name or --out"
            )
        return None
    try:
        return read_config(path)
    except UserError as error:
        raise UserError(f"{error}; move the folder away or choose another --name") from None


def weights_name(folder: Path, which: str | None) -> str:
    """The name of the file with the weights of a model or a checkpoint of it (`best`, `last`)."""
    config = stored_config(folder)
    selected = config and config["selected"] and which == config["selected"]["model"]
    return f"{'model' if selected or which is None else which}.safetensors"


def read_model(folder: Path, which: str | None, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """A trained model on `device`, and its config; `which`: None for the selected checkpoint.

    Raises UserError where there is no such model, or it is not finished.
    """
    config = stored_config(folder)
    if config is None:
        raise UserError(f"{folder} holds no model")
    if which is not None and which not in ("best", "last"):
        raise UserError(f"'@{which}': write NAME, NAME@best or NAME@last")
    if config["status"] == "done":
        which = None if which == config["selected"]["model"] else which
    elif which is None or not (folder / f"{which}.safetensors").is_file():
        there = [
            f"{config['name']}@{name}"
            for name in ("best", "last")
            if (folder / f"{name}.safetensors").is_file()
        ]
        instead = f", or use {' or '.join(there)}" if there else ""
        raise UserError(
            f"model {config['name']} is not finished; "
            f"give its train command again to go on{instead}"
        )
    model, _ = load_model(folder, which)  # type: ignore[arg-type]
    return model.to(device), config
