"""Fine-tuning: the trained model whose weights a training starts from."""

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
from robbench.store.store import Store
from robbench.tasks.codes import canonical_model
from robbench.tasks.model_folder import find_folder, read_model, stored_config


class Start(NamedTuple):
    """A model to start from: how it was named, its folder, its config.json, itself (on the CPU) and the hash of its weights."""

    text: str
    folder: Path
    config: dict[str, Any]
    model: Classifier
    hash: str

    @property
    def facts(self) -> dict[str, str]:
        """What config.json says of it."""
        return {
            "name": self.config["name"],
            "folder": str(self.folder),
            "identity": self.config["identity"],
            "hash": self.hash,
        }

    def prepared(self, loss: Loss, info: DataInfo) -> Classifier:
        """A copy with the head that the loss wants and the weights as they are. UserError when that is another head."""
        model = loss.prepare(copy.deepcopy(self.model), info)
        if model.head_spec != self.model.head_spec:
            raise UserError(
                f"--from {self.text}: it has the head {self.model.head_spec}, this loss trains {model.head_spec}; "
                "choose a loss that keeps the head, or train without --from"
            )
        model.load_state_dict(self.model.state_dict())
        return model


def settings_of(text: str, out: Path) -> dict[str, Any]:
    """The architecture and data set of a model to start from: what its fine-tuning takes where nothing else is said."""
    folder, _ = _find(text, Store(out))
    config = stored_config(folder)
    return {"model": config["model"], "data": config["config"]["data"]} if config else {}


def find_start(text: str, model: str, info: DataInfo, store: Store, target: Path) -> Start:
    """The model that `text` means, a name in the store or a saved folder, each also with @best or @last.

    Raises UserError when there is none, when it is not finished, when its architecture is not
    `model` or its inputs and number of classes are not those of `info`, and when it lies in
    `target`, where what is trained from it goes.
    """
    folder, which = _find(text, store)
    if folder.resolve() == target.resolve():
        raise UserError(
            f"--from {text}: the model would replace what it starts from; choose another --name"
        )
    found, config = read_model(folder, which, torch.device("cpu"))
    if canonical_model(config["model"]) != canonical_model(model):
        raise UserError(
            f"--from {text}: it is a {config['model']}, not a {model}; leave out --model, or name another model"
        )
    if tuple(config["shape"]) != info.shape:
        raise UserError(
            f"--from {text}: it takes images of shape {config['shape']}, the data have {list(info.shape)}"
        )
    if len(config["classes"]) != len(info.classes):
        raise UserError(
            f"--from {text}: it tells {len(config['classes'])} classes apart, the data have {len(info.classes)}"
        )
    return Start(text, folder, config, found, model_hash(found))


def require_architecture(model: str, store: Store) -> None:
    """Raise UserError where a trained model is named in the place of an architecture."""
    name = model.partition(":")[0]
    if name not in MODELS.entries and find_folder(model, store)[0]:
        raise UserError(
            f"--model {model} is a trained model, no architecture; to start from its weights: --from {model}"
        )


def renamed_classes(start: Start, info: DataInfo) -> list[str]:
    """A note where its classes have other names than those of the data."""
    if tuple(start.config["classes"]) == info.classes:
        return []
    return [
        f"--from {start.text}: the data name the classes otherwise; its outputs stand for the data's classes in their order"
    ]


def _find(text: str, store: Store) -> tuple[Path, str | None]:
    folder, which = find_folder(text, store)
    if folder is None:
        known = [path.parent.name for path in store.models.glob("*/config.json")]
        raise UserError(
            f"--from {text}: not in {store.models}, and no folder of a saved model{nearest(text, known)}"
        )
    return folder, which
