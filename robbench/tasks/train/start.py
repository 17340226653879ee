"""The trained model whose weights a fine-tuning starts from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.store.store import Store
from robbench.tasks.codes import canonical_model
from robbench.tasks.model_folder import stored_config
from robbench.tasks.model_names import find_folder
from robbench.tasks.train.saved import SavedModel, find_named, find_saved

OPTION = "--from"


def settings_of(text: str, out: Path) -> dict[str, Any]:
    """The architecture and data set of a model to start from, the defaults of its fine-tuning."""
    folder, _ = find_named(OPTION, text, Store(out))
    config = stored_config(folder)
    return {"model": config["model"], "data": config["config"]["data"]} if config else {}


def find_start(text: str, model: str, info: DataInfo, store: Store, target: Path) -> SavedModel:
    """The model to start from, as `find_saved`.

    Raises UserError where its architecture is not `model`, too.
    """
    start = find_saved(OPTION, text, info, store, role="what it starts from", target=target)
    if canonical_model(start.config["model"]) != canonical_model(model):
        raise UserError(
            f"{start.said}: it is a {start.config['model']}, not a {model}; "
            "leave out --model, or name another model"
        )
    return start


def prepared(start: SavedModel, loss: Loss, info: DataInfo) -> Classifier:
    """A copy of the model, with its weights, for a loss.

    Raises UserError where the loss trains another head.
    """
    model = loss.prepare(copy.deepcopy(start.model), info)
    if model.head_spec != start.model.head_spec:
        raise UserError(
            f"{start.said}: it has the head {start.model.head_spec}, this loss trains "
            f"{model.head_spec}; choose a loss that keeps the head, or train without --from"
        )
    model.load_state_dict(start.model.state_dict())
    return model


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
