"""Model folders: their config.json, and their model or one of its checkpoints."""

from __future__ import annotations

import fnmatch
import glob
from pathlib import Path
from typing import Any

import torch

from robbench.core.errors import UserError
from robbench.core.leftovers import is_temporary
from robbench.core.model_config import read_config
from robbench.models.weights import load_model
from robbench.store.address.copies import bring
from robbench.store.locations import is_there, matches
from robbench.store.store import Store


def find_folder(text: str, store: Store) -> tuple[Path | None, str | None]:
    """The folder and checkpoint that NAME or PATH, possibly with @best or @last, means.

    (None, None) where there is no such folder.
    """
    for name, at, which in ((text, "", ""), text.rpartition("@")):
        for path in (store.models / name, Path(name)):
            # Some long model specs are no possible path: not an error here.
            if name and is_there(path / "config.json"):
                bring(path)
                return path, which if at else None
    return None, None


def matching_models(text: str, store: Store) -> list[str]:
    """The trained models that a pattern with * ? or [] matches; what is no pattern, as it is.

    A pattern is of names in the output folder or of paths, with @best or @last behind it if wanted.
    Raises UserError where no trained model matches.
    """
    if ":" in text or not glob.has_magic(text) or find_folder(text, store)[0] is not None:
        return [text]
    pattern, at, which = text.partition("@")
    names = sorted(path.parent.name for path in store.models.glob("*/config.json"))
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found and "/" in pattern:
        found = [
            str(path)
            for path in matches(pattern)
            if isinstance(path, Path) and is_there(path / "config.json")
        ]
    if not found:
        there = f"; there is {', '.join(names)}" if names else ""
        raise UserError(f"no trained model in {store.models} matches '{pattern}'{there}")
    return [f"{name}{at}{which}" for name in found]


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
