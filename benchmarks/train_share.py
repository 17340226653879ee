"""Where the CPU time of `robbench train` goes: the model's passes, the optimizer, all else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import nn

from robbench.attacks.pgd import PGD
from robbench.core.device import deterministic
from robbench.data.base import DataInfo, Split, sample_ids
from robbench.losses.cross_entropy import CrossEntropy
from robbench.models.create import create
from robbench.threat.model import ThreatModel
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.trainer import Trainer

BATCHES = 3


class Spent(NamedTuple):
    """CPU seconds of an epoch without its validation, all threads."""

    whole: float
    model: float  # forwards, and all that autograd does
    optimizer: float


class Clock:
    """Adds up the CPU seconds of calls; of calls inside others only the outermost."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.inside = False

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, clocked."""

        def clocked(*args: Any, **options: Any) -> Any:
            if self.inside:
                return call(*args, **options)
            self.inside, began = True, time.process_time()
            try:
                return call(*args, **options)
            finally:
                self.seconds += time.process_time() - began
                self.inside = False

        return clocked


def train_epoch(name: str, info: DataInfo, threat: ThreatModel, batch: int, batches: int) -> Spent:
    """One epoch of PGD-10 adversarial training of a model on random images."""
    n = batch * batches
    torch.manual_seed(0)
    images = torch.randint(256, (n, *info.shape), dtype=torch.uint8)
    labels = torch.arange(n) % len(info.classes)
    ids = torch.from_numpy(sample_ids(images.numpy(), labels.numpy()))
    split = Split(images, labels, ids, info.classes, "random", "train")
    model = create(name, info)
    recipe = Recipe(batch_size=batch, epochs=1)
    trainer = Trainer(
        model,
        CrossEntropy(),
        split,
        split.take(torch.arange(0)),
        recipe,
        inner=Inner(PGD(steps=10), threat),
        threat=threat,
    )
    passes, steps = Clock(), Clock()
    trainer.optimizer.step = steps.around(trainer.optimizer.step)  # type: ignore[method-assign]
    with deterministic(), _clocked(trainer, model, passes):
        began = time.process_time()
        trainer.run_epoch(lambda _: None)
        whole = time.process_time() - began
    return Spent(whole, passes.seconds, steps.seconds)


@contextlib.contextmanager
def _clocked(trainer: Trainer, model: nn.Module, clock: Clock) -> Iterator[None]:
    """Clock the forwards of a model and every call of autograd."""
    forward = trainer.forward
    with (
        mock.patch.object(forward, "_output", clock.around(forward._output)),
        mock.patch.object(forward, "_logits", clock.around(forward._logits)),
        mock.patch.object(torch.autograd, "grad", clock.around(torch.autograd.grad)),
        mock.patch.object(torch.Tensor, "backward", clock.around(torch.Tensor.backward)),
    ):
        yield


def show_train_share(
    name: str, info: DataInfo, threat: ThreatModel, batch: int, rounds: int
) -> None:
    """A line for a model: epochs of BATCHES batches, the least of the rounds."""
    runs = [train_epoch(name, info, threat, batch, BATCHES) for _ in range(rounds)]
    whole = min(run.whole for run in runs)
    optimizer = min(run.optimizer / run.whole for run in runs)
    rest = min(1 - (run.model + run.optimizer) / run.whole for run in runs)
    print(
        f"{name}, batches of {batch}: {whole:.2f} CPU s, model {1 - optimizer - rest:.1%}, "
        f"optimizer {optimizer:.1%}, all else {rest:.1%}"
    )
