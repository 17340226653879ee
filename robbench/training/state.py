"""The state of a trainer: what a resumed run needs to end bit-equal on a CPU."""

from __future__ import annotations

from typing import Any

from robbench.training.trainer import Trainer


def trainer_state(trainer: Trainer) -> dict[str, Any]:
    """The state between two epochs; tensors and plain values only."""
    average = trainer.average.average
    return {
        "epoch": trainer.epoch,
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "memories": trainer.notes.memories,
        "class_means": trainer.notes.last_means,
        "average": None if average is None else average.state_dict(),
    }


def restore_trainer(trainer: Trainer, state: dict[str, Any]) -> None:
    """Continue from a state. Raises whatever torch raises where it does not fit the trainer."""
    trainer.epoch = state["epoch"]
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.notes.memories = state["memories"]
    trainer.notes.last_means = state["class_means"]
    if trainer.average.average is not None:
        trainer.average.average.load_state_dict(state["average"])
