"""The training loop: epochs over batches, and one validation after each.

Everything random is a function of (seed, epoch), so a run that is killed and resumed ends bit-equal
on a CPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.spec import finite
from robbench.data.base import Split
from robbench.data.generated import MixedLoader
from robbench.data.loader import DeviceLoader, seeded_generator
from robbench.losses.base import AVERAGE, Loss
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel
from robbench.training.averaging import Average
from robbench.training.distributed import World
from robbench.training.finite import require_finite_loss, require_finite_outputs
from robbench.training.fit_head import fit_head
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.mixup import mix
from robbench.training.notes import Notes
from robbench.training.optimizers import make_optimizer, set_rate
from robbench.training.recipe import Recipe
from robbench.training.step import TrainStep
from robbench.training.update import WeightedSteps, update, zero_sums
from robbench.training.validation import Validation, validate


class Progress(NamedTuple):
    """How far an epoch is after a batch."""

    epoch: int  # from 0
    samples: int  # done in this epoch
    total: int
    loss: Tensor  # [] mean so far; on the device, which only its reader waits for


class Generated(NamedTuple):
    """Samples to mix into the batches of training, and their share of each."""

    split: Split
    ratio: float


class Trainer:
    """Trains `model` on `train` by `recipe`, and validates it after each epoch."""

    def __init__(
        self,
        model: Classifier,
        loss: Loss,
        train: Split,
        validation: Split,
        recipe: Recipe,
        *,
        inner: Inner | None,
        threat: ThreatModel,
        teacher: Classifier | Literal["average"] | None = None,
        generated: Generated | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.train = train
        self.validation = validation
        self.recipe = recipe
        self.inner = None if inner is None else replace(inner, free=train.free)
        self.threat = threat
        self.teacher = teacher
        self.epoch = 0
        self.world = World()
        self.loader = make_loader(train, recipe, generated)
        self.forward = Forward(
            model,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
            compiled=recipe.compile,
        )
        self.optimizer = make_optimizer(
            recipe.optimizer,
            model,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.average = Average(recipe.average, model, recipe.ema_decay)
        ids = [train.ids] if generated is None else [train.ids, generated.split.ids]
        self.keys = keyed.fold(torch.cat(ids), recipe.seed)
        self.notes = Notes(len(self.keys), train.labels.device)

    @property
    def averaged_model(self) -> Classifier:
        """The model to validate and to keep: the average of the weights if the recipe makes one."""
        return self.average.averaged_model

    def run_epoch(self, watch: Callable[[Progress], None]) -> dict[str, Any]:
        """Train one epoch, then validate: a row for the epochs table. `watch` may raise to stop.

        Raises RunError when the loss or the model's outputs are not finite.
        """
        recipe, world, n = self.recipe, self.world, self.loader.samples
        began = time.perf_counter()
        # For dropout and the like.
        torch.manual_seed((recipe.seed * 1_000_003 + self.epoch) * world.size + world.rank)
        sums = zero_sums(self.train.labels.device)
        seen = 0
        self.model.train()
        for number, (x, y, index) in enumerate(self.loader.epoch(self.epoch)):
            middle = (self.epoch + (seen + len(y) / 2) / n) / recipe.epochs  # of this batch
            rate = set_rate(self.optimizer, recipe, middle)
            steps = self._steps(x, y, index, middle, number)
            sums += update(self.model, self.loss, self.optimizer, recipe, world, steps, len(y))
            self.average.after_step()
            seen += len(y)
            watch(Progress(self.epoch, seen, n, sums[0] * world.size / seen))
        loss, n_forward, n_backward = world.add([sums])[0].tolist()
        require_finite_loss(loss, self.epoch)
        self._end_epoch()
        require_finite_outputs(self.averaged_model, self.train, self.epoch)
        seconds = time.perf_counter() - began
        validation = self.validate()
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "learning_rate": rate,
            "train_loss": loss / n,
            **validation._asdict(),
            "seconds": seconds,
            "n_forward": int(n_forward),
            "n_backward": int(n_backward),
            "logs": json.dumps(finite(self.notes.take_means())),
        }

    def validate(self) -> Validation:
        """Clean and robust accuracy and margins on the validation split."""
        return validate(self.averaged_model, self.validation, self.threat, self.recipe.seed)

    def _steps(
        self, x: Tensor, y: Tensor, index: Tensor, progress: float, number: int
    ) -> WeightedSteps:
        """This process' part of a batch; with mixup twice: the mixed inputs with either labels."""
        mine = self.world.share(len(y))
        mixed = None
        if self.recipe.mixup:
            generator = seeded_generator(self.recipe.seed, f"mixup {self.epoch}", number)
            mixed = mix(x, y, self.recipe.mixup, generator)
            x = mixed.x
        step = TrainStep(
            self.model,
            x[mine],
            y[mine],
            index[mine],
            key=keyed.fold(self.keys[index[mine]], self.epoch),
            inner=self.inner,
            epoch=self.epoch,
            progress=progress,
            notes=self.notes,
            forward=self.forward,
            teacher=self._teacher(),
        )
        if mixed is None:
            return [(1.0, step)]
        return [(mixed.share, step), (1 - mixed.share, step.relabelled(mixed.other[mine]))]

    def _teacher(self) -> Forward | None:
        if self.teacher is None:
            return None
        return Forward(
            self.averaged_model if self.teacher == AVERAGE else self.teacher,
            precision=self.recipe.precision,
            channels_last=self.recipe.channels_last,
        )

    def _end_epoch(self) -> None:
        self.notes.share(self.world)
        self.world.same_buffers(self.model)
        self.average.after_epoch((self.epoch + 1) / self.recipe.epochs)
        self.world.same_buffers(self.averaged_model)  # as after a resume: the first one's are kept
        fit_head(self.loss, self.averaged_model, self.train)


def make_loader(
    train: Split, recipe: Recipe, generated: Generated | None
) -> DeviceLoader | MixedLoader:
    """The batches of a training. Raises UserError where recipe and data do not fit."""
    if generated is None:
        return DeviceLoader(train, recipe.batch_size, seed=recipe.seed, augment=recipe.augment)
    return MixedLoader(
        train,
        generated.split,
        recipe.batch_size,
        ratio=generated.ratio,
        seed=recipe.seed,
        augment=recipe.augment,
    )
