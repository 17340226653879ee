"""Model folders as training leaves them: their config.json, and the model of a finished one or of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from robbench.core.errors import UserError
from robbench.core.leftovers import is_temporary
from robbench.core.model_config import read_config
from robbench.models.weights import load_model
from robbench.store.locations import is_there
from robbench.store.store import Store


def find_folder(text: str, store: Store) -> tuple[Path | None, str | None]:
    """The folder of a trained model and which of its checkpoints: NAME or PATH, possibly with @best or @last."""
    for name, at, which in ((text, "", ""), text.rpartition("@")):
        for path in (store.models / name, Path(name)):
            if name and is_there(
                path / "config.json"
            ):  # a long model spec is no possible name of a folder
                return path, which if at else None
    return None, None


def stored_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a model folder, None when there is none. UserError when it is damaged or the folder is not ours."""
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


def read_model(folder: Path, which: str | None, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """A trained model and its config; `which` is `best` or `last` when it is not the selected one."""
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
            f"model {config['name']} is not finished; give its train command again to go on{instead}"
        )
    model, _ = load_model(folder, which)  # type: ignore[arg-type]
    return model.to(device), config
