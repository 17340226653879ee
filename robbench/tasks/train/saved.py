"""A trained model that a training builds on: the one it starts from, or its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.core.errors import UserError, nearest
from robbench.data.base import DataInfo
from robbench.models.base import Classifier
from robbench.models.weights import model_hash
from robbench.store.address.copies import shown
from robbench.store.store import Store
from robbench.tasks.model_folder import read_model
from robbench.tasks.model_names import find_folder


class SavedModel(NamedTuple):
    """A trained model, as an option names it."""

    said: str  # the option and its value: `--from at`
    folder: Path
    config: dict[str, Any]  # its config.json
    model: Classifier  # on the CPU
    hash: str  # of its weights

    @property
    def facts(self) -> dict[str, str]:
        """What the config.json of the new model says of it."""
        return {
            "name": self.config["name"],
            "folder": shown(self.folder),
            "identity": self.config["identity"],
            "hash": self.hash,
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its inputs."""
        return tuple(self.config["shape"])

    def renamed_classes(self, info: DataInfo) -> list[str]:
        """A note where its classes have other names than those of the data."""
        if tuple(self.config["classes"]) == info.classes:
            return []
        return [
            f"{self.said}: its classes have other names than the data's; "
            "its outputs are taken for the data's classes in their order"
        ]


def find_saved(
    option: str, text: str, info: DataInfo, store: Store, *, role: str, target: Path
) -> SavedModel:
    """The model named `text` in the store or the folder `text`, each also with @best or @last.

    Raises UserError, which begins with the option, where there is none, where it is not finished,
    where its inputs or number of classes are not those of `info`, and where it is in `target`, the
    folder of the new model. `role`: what it is for that.
    """
    said = f"{option} {text}"
    folder, which = find_named(option, text, store)
    if folder.resolve() == target.resolve():
        raise UserError(f"{said}: the model would replace {role}; choose another --name")
    found, config = read_model(folder, which, torch.device("cpu"))
    saved = SavedModel(said, folder, config, found, model_hash(found))
    if saved.shape != info.shape:
        raise UserError(
            f"{said}: it takes images of shape {config['shape']}, the data have {list(info.shape)}"
        )
    if len(config["classes"]) != len(info.classes):
        raise UserError(
            f"{said}: it has {len(config['classes'])} classes, the data have {len(info.classes)}"
        )
    return saved


def find_named(option: str, text: str, store: Store) -> tuple[Path, str | None]:
    """The folder and checkpoint of a name or path. Raises UserError where there is none."""
    folder, which = find_folder(text, store)
    if folder is None:
        known = [path.parent.name for path in store.models.glob("*/config.json")]
        raise UserError(
            f"{option} {text}: not in {store.models}, "
            f"and no folder of a saved model{nearest(text, known)}"
        )
    return folder, which
