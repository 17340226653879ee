"""The training loop and nothing else: epochs over batches, one validation after each.

Everything random is a function of (seed, epoch), so a run that is killed and resumed ends bit-equal on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.core.device import default_batch_size
from robbench.core.errors import RunError
from robbench.data.base import Split
from robbench.data.loader import DeviceLoader
from robbench.engine.cascade import Cascade, Entry
from robbench.engine.guard import frozen
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel
from robbench.training.optimizers import make_optimizer
from robbench.training.schedules import SCHEDULES
from robbench.training.step import Inner, Notes, TrainStep

VALIDATION_ATTACK = PGD(steps=10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: optimisation settings only."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    augment: str
    seed: int


class Validation(NamedTuple):
    """Shares of the validation split and mean logit margins, clean and under a short PGD."""

    clean_accuracy: float
    robust_accuracy: float
    clean_margin: float
    adv_margin: float


class Progress(NamedTuple):
    """Where an epoch stands."""

    epoch: int
    samples: int  # done in this epoch
    total: int
    loss: Tensor  # mean so far; on the device, so that only who shows it waits for it


class Trainer:
    """Trains `model` on `train`, looks at `validation` after each epoch."""

    def __init__(self, model: Classifier, loss: Loss, train: Split, validation: Split, recipe: Recipe, *, inner: Inner | None,
                 threat: ThreatModel) -> None:  # fmt: skip
        self.model, self.loss, self.train, self.validation = model, loss, train, validation
        self.recipe, self.inner, self.threat = recipe, inner, threat
        self.loader = DeviceLoader(train, recipe.batch_size, seed=recipe.seed, augment=recipe.augment)
        self.optimizer = make_optimizer(
            recipe.optimizer, model, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.keys = keyed.fold(train.ids, recipe.seed)
        self.notes = Notes(len(train), train.labels.device)
        self.epoch = 0

    def run_epoch(self, watch: Callable[[Progress], None]) -> dict[str, Any]:
        """Train one epoch, then validate: a row for the epochs table. `watch` may raise to stop.

        Raises RunError when the loss is no longer a number.
        """
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.epoch)  # dropout and the like
        began, n = time.perf_counter(), len(self.train)
        total = torch.zeros((), device=self.train.labels.device)
        seen = forwards = backwards = 0
        self.model.train()
        keys = keyed.fold(self.keys, self.epoch)
        for x, y, index in self.loader.epoch(self.epoch):
            progress = (self.epoch + (seen + len(y) / 2) / n) / self.recipe.epochs  # of this batch's middle
            rate = self._set_rate(progress)
            step = TrainStep(
                self.model, x, y, index, key=keys[index], inner=self.inner, epoch=self.epoch, progress=progress, notes=self.notes
            )
            values = self.loss(step)
            if values.shape != y.shape:
                raise RunError(f"the loss returned shape {tuple(values.shape)}, not one value per sample, ({len(y)},)")
            self.optimizer.zero_grad(set_to_none=True)
            values.mean().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += values.detach().sum()
            seen, forwards, backwards = seen + len(y), forwards + step.forwards, backwards + step.backwards
            watch(Progress(self.epoch, seen, n, total / seen))
        if not torch.isfinite(total):
            raise RunError(f"the loss became {float(total)} in epoch {self.epoch + 1}; lower --lr or change the loss")
        self._fit_head()
        with frozen(self.model), torch.no_grad():  # the last step's weights have not been through a loss yet
            if not torch.isfinite(self.model(self.train.pixels(slice(0, 8)))).all():
                raise RunError(f"the model's outputs are no longer finite after epoch {self.epoch + 1}; lower --lr")
        trained = time.perf_counter() - began
        found = self.validate()
        self.epoch += 1
        return {
            "epoch": self.epoch, "learning_rate": rate, "train_loss": float(total) / n, **found._asdict(),
            "seconds": trained, "n_forward": forwards, "n_backward": backwards,
            "logs": json.dumps(self.notes.take_means()),
        }  # fmt: skip

    def validate(self) -> Validation:
        """Clean and under PGD-10, by the same engine that `robbench attack` uses; NaN without validation samples."""
        if not len(self.validation):
            return Validation(*[float("nan")] * 4)
        with frozen(self.model):
            cascade = Cascade(
                self.model, self.validation, self.threat, [Entry("validation", VALIDATION_ATTACK)],
                seed=self.recipe.seed, width=default_batch_size(self.validation.labels.device),
            )  # fmt: skip
            verdicts = [verdict for tick in cascade.run() for verdict in tick.verdicts]
        columns = (
            [v.clean_pred == y for v, y in zip(verdicts, self._labels(verdicts), strict=True)],
            [not v.adversarial for v in verdicts],
            [v.clean_margin for v in verdicts],
            [v.adv_margin for v in verdicts],
        )
        return Validation(*(sum(column) / len(verdicts) for column in columns))

    def state(self) -> dict[str, Any]:
        """What a resumed run needs; tensors and plain values only."""
        return {
            "epoch": self.epoch, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "memories": self.notes.memories,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.notes.memories = state["memories"]

    def _set_rate(self, progress: float) -> float:
        rate = self.recipe.lr * SCHEDULES[self.recipe.schedule](progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _fit_head(self) -> None:
        if self.loss.fits_head:
            with frozen(self.model), torch.no_grad():
                parts = [self.model.features(self.train.pixels(slice(i, i + 256))) for i in range(0, len(self.train), 256)]
                self.loss.fit_head(self.model.head, torch.cat(parts), self.train.labels)

    def _labels(self, verdicts: list[Any]) -> list[int]:
        labels: Tensor = self.validation.labels[[v.sample for v in verdicts]]
        return list(labels.tolist())
