"""A small model trained in seconds, to hold other models against."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.device import deterministic
from robbench.core.errors import RobbenchError
from robbench.data.base import Split
from robbench.data.load import load
from robbench.models.create import create
from robbench.tasks.train.config import TrainConfig
from robbench.threat.model import ThreatModel
from robbench.training.inner import Inner
from robbench.training.trainer import Trainer

ROWS = 5000  # more rows, or larger images, would take minutes on a CPU
PIXELS = 3 * 32 * 32


def train_small(train: Split, threat: ThreatModel, config: TrainConfig) -> nn.Module:
    """A frozen model trained on these samples with a config's settings, without validation.

    The config's data and threat are not used.
    """
    torch.manual_seed(config.seed)
    info, loss = train.info(), LOSSES.build(config.loss)
    model = loss.prepare(create(config.model, info), info).to(train.labels.device)
    attack = ATTACKS.build(config.inner) if config.inner else None
    inner = Inner(attack, threat) if isinstance(attack, Attack) else None
    trainer = Trainer(
        model, loss, train, train.take(torch.arange(0)), config, inner=inner, threat=threat
    )
    with deterministic():
        for _ in range(config.epochs):
            trainer.run_epoch(lambda progress: None)
    return model.eval().requires_grad_(False)


def transfer_source(
    split: Split, data: str, threat: ThreatModel, data_dir: Path | None
) -> nn.Module | None:
    """An undefended model of a split's training data, to transfer from.

    None where training is not cheap, or there is no training data.
    """
    shape = split.images.shape[1:]
    if shape.numel() > PIXELS:
        return None
    try:
        train = load(data, "train", data_dir=data_dir, limit=ROWS)
    except RobbenchError:  # a data set may have a test split only
        return None
    images = len(shape) == 3
    config = TrainConfig(
        model="small-cnn:width=16" if images else "mlp:width=64,depth=1", epochs=5, seed=1
    )
    with torch.random.fork_rng():
        return train_small(train.to(split.labels.device), threat, config)
