"""The trained model whose weights a fine-tuning starts from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError, nearest
from robbench.data.base import DataInfo
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.models.weights import model_hash
from robbench.store.address.copies import shown
from robbench.store.store import Store
from robbench.tasks.codes import canonical_model
from robbench.tasks.model_folder import find_folder, read_model, stored_config


class Start(NamedTuple):
    """A trained model to start from."""

    text: str  # as the user named it
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

    def prepared(self, loss: Loss, info: DataInfo) -> Classifier:
        """A copy of the model, with its weights, for a loss.

        Raises UserError where the loss trains another head.
        """
        model = loss.prepare(copy.deepcopy(self.model), info)
        if model.head_spec != self.model.head_spec:
            raise UserError(
                f"--from {self.text}: it has the head {self.model.head_spec}, this loss trains "
                f"{model.head_spec}; choose a loss that keeps the head, or train without --from"
            )
        model.load_state_dict(self.model.state_dict())
        return model


def settings_of(text: str, out: Path) -> dict[str, Any]:
    """The architecture and data set of a model to start from, the defaults of its fine-tuning."""
    folder, _ = _find(text, Store(out))
    config = stored_config(folder)
    return {"model": config["model"], "data": config["config"]["data"]} if config else {}


def find_start(text: str, model: str, info: DataInfo, store: Store, target: Path) -> Start:
    """The model named `text` in the store or the folder `text`, each also with @best or @last.

    Raises UserError where there is none, where it is not finished, where its architecture is not
    `model` or its inputs or number of classes are not those of `info`, and where it is in
    `target`, the folder of the new model.
    """
    folder, which = _find(text, store)
    if folder.resolve() == target.resolve():
        raise UserError(
            f"--from {text}: the model would replace what it starts from; choose another --name"
        )
    found, config = read_model(folder, which, torch.device("cpu"))
    if canonical_model(config["model"]) != canonical_model(model):
        raise UserError(
            f"--from {text}: it is a {config['model']}, not a {model}; "
            "leave out --model, or name another model"
        )
    if tuple(config["shape"]) != info.shape:
        raise UserError(
            f"--from {text}: it takes images of shape {config['shape']}, "
            f"the data have {list(info.shape)}"
        )
    if len(config["classes"]) != len(info.classes):
        raise UserError(
            f"--from {text}: it has {len(config['classes'])} classes, "
            f"the data have {len(info.classes)}"
        )
    return Start(text, folder, config, found, model_hash(found))


def require_architecture(model: str, store: Store) -> None:
    """Raise UserError where what is named cannot be trained: a trained model, a program's file."""
    known = MODELS.registers(model)
    if not known and find_folder(model, store)[0]:
        raise UserError(
            f"--model {model} is a trained model, no architecture; "
            f"to start from its weights: --from {model}"
        )
    if known and not MODELS.find(model.partition(":")[0]).trainable:
        raise UserError(
            f"--model {model} is a program in a file, which is attacked as it is: "
            "train the architecture it was made of"
        )


def renamed_classes(start: Start, info: DataInfo) -> list[str]:
    """A note where its classes have other names than those of the data."""
    if tuple(start.config["classes"]) == info.classes:
        return []
    return [
        f"--from {start.text}: its classes have other names than the data's; "
        "its outputs are taken for the data's classes in their order"
    ]


def _find(text: str, store: Store) -> tuple[Path, str | None]:
    folder, which = find_folder(text, store)
    if folder is None:
        known = [path.parent.name for path in store.models.glob("*/config.json")]
        raise UserError(
            f"--from {text}: not in {store.models}, "
            f"and no folder of a saved model{nearest(text, known)}"
        )
    return folder, which
