"""The teacher of a training, for losses that learn from one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.base import AVERAGE, Loss
from robbench.store.store import Store
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.saved import SavedModel, find_named, find_saved

OPTION = "--teacher"
Teacher = SavedModel | Literal["average"]


def require_teacher(config: TrainConfig, loss: Loss, store: Store) -> str | None:
    """`average` or what names a saved model, which a loss may bring; None: there is no teacher.

    Raises UserError where the loss needs a teacher and there is none, where it uses none and one is
    given, where there is no model of that name, and no running average to learn from.
    """
    if loss.teacher is None:
        if config.teacher is not None:
            raise UserError(
                f"loss {config.loss} learns from no teacher; leave out {OPTION} {config.teacher}"
            )
        return None
    text = config.teacher or loss.teacher
    if not text:
        raise UserError(
            f"loss {config.loss} learns from a teacher: give {OPTION} NAME, "
            "of a model that was trained on such data"
        )
    if text != AVERAGE:
        find_named(OPTION, text, store)
    elif config.average != "ema":
        raise UserError(
            f"loss {config.loss} learns from the running average of the weights: "
            f"give --set average=ema, or {OPTION} NAME of a trained model"
        )
    return text


def find_teacher(text: str, info: DataInfo, store: Store, target: Path) -> Teacher:
    """The teacher that a text names. Raises UserError as `find_saved` does."""
    if text == AVERAGE:
        return AVERAGE
    return find_saved(OPTION, text, info, store, role="its teacher", target=target)


def counts_as(teacher: Teacher) -> str:
    """What stands for it in the identity of a training: a model's weights, whatever its name."""
    return teacher.hash if isinstance(teacher, SavedModel) else teacher
