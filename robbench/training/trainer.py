"""The training loop and nothing else: epochs over batches, one validation after each.

Everything random is a function of (seed, epoch), so a run that is killed and resumed ends bit-equal
on a CPU.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.core.device import default_batch_size
from robbench.core.errors import RunError
from robbench.core.freeze import frozen
from robbench.core.spec import finite
from robbench.data.base import Split
from robbench.data.loader import DeviceLoader, seeded_generator
from robbench.engine.cascade import Entry
from robbench.engine.evaluate import evaluate
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.threat.model import ThreatModel
from robbench.training.averaging import Average
from robbench.training.awp import perturbed
from robbench.training.distributed import World
from robbench.training.forward import Forward
from robbench.training.optimizers import make_optimizer
from robbench.training.recipe import Recipe
from robbench.training.schedules import SCHEDULES
from robbench.training.step import Inner, Notes, TrainStep

VALIDATION_ATTACK = PGD(steps=10)
COSTS = ("forwards", "backwards")


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
        self.world = World()
        self.loader = DeviceLoader(
            train, recipe.batch_size, seed=recipe.seed, augment=recipe.augment
        )
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
        self.keys = keyed.fold(train.ids, recipe.seed)
        self.notes = Notes(len(train), train.labels.device)
        self.epoch = 0

    @property
    def judged(self) -> Classifier:
        """The model to judge and to keep: the average of the weights where the recipe makes one."""
        return self.average.judged

    def run_epoch(self, watch: Callable[[Progress], None]) -> dict[str, Any]:
        """Train one epoch, then validate: a row for the epochs table. `watch` may raise to stop.

        Raises RunError when the loss is no longer a number.
        """
        torch.manual_seed(
            (self.recipe.seed * 1_000_003 + self.epoch) * self.world.size + self.world.rank
        )  # dropout and the like
        began, n = time.perf_counter(), len(self.train)
        counts = torch.zeros(
            3, dtype=_widest(self.train.labels.device), device=self.train.labels.device
        )  # loss, *COSTS
        seen = 0
        self.model.train()
        for number, (x, y, index) in enumerate(self.loader.epoch(self.epoch)):
            progress = (
                self.epoch + (seen + len(y) / 2) / n
            ) / self.recipe.epochs  # of this batch's middle
            rate = self._set_rate(progress)
            counts += self._update(self._parts(x, y, index, progress, number), len(y))
            seen += len(y)
            watch(Progress(self.epoch, seen, n, counts[0] * self.world.size / seen))
        loss, forwards, backwards = self.world.add([counts])[0].tolist()
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} in epoch {self.epoch + 1}{self._kept}; lower --lr or change the loss"
            )
        self.notes.share(self.world)
        self.world.same_buffers(self.model)
        self.average.after_epoch((self.epoch + 1) / self.recipe.epochs)
        self._fit_head()
        with (
            frozen(self.judged),
            torch.no_grad(),
        ):  # the last step's weights have not been through a loss yet
            if not torch.isfinite(self.judged(self.train.pixels(slice(0, 8)))).all():
                raise RunError(
                    f"the model's outputs are no longer finite after epoch {self.epoch + 1}{self._kept}; lower --lr"
                )
        trained = time.perf_counter() - began
        found = self.validate()
        self.epoch += 1
        return {
            "epoch": self.epoch, "learning_rate": rate, "train_loss": loss / n, **found._asdict(),
            "seconds": trained, "n_forward": int(forwards), "n_backward": int(backwards),
            "logs": json.dumps(finite(self.notes.take_means())),
        }  # fmt: skip

    def _parts(
        self, x: Tensor, y: Tensor, index: Tensor, progress: float, number: int
    ) -> list[tuple[float, TrainStep]]:
        """This process' part of a batch, with its weight in the loss; two with mixup: the same mixed inputs, either's labels."""
        mine, share, other = self.world.share(len(y)), 1.0, y
        if self.recipe.mixup:
            generator = seeded_generator(self.recipe.seed, f"mixup {self.epoch}", number)
            share = _beta(self.recipe.mixup, generator)
            order = torch.randperm(len(y), generator=generator).to(y.device)
            x, other = share * x + (1 - share) * x[order], y[order]
        step = TrainStep(
            self.model, x[mine], y[mine], index[mine], key=keyed.fold(self.keys[index[mine]], self.epoch), inner=self.inner,
            epoch=self.epoch, progress=progress, notes=self.notes, forward=self.forward,
        )  # fmt: skip
        return (
            [(share, step), (1 - share, step.relabelled(other[mine]))]
            if self.recipe.mixup
            else [(share, step)]
        )

    def _update(self, parts: list[tuple[float, TrainStep]], rows: int) -> Tensor:
        """One step of the optimizer on this process' part of a batch of so many rows: sum of the values, forwards, backwards."""
        recipe, steps = self.recipe, [step for _, step in parts]
        with contextlib.ExitStack() as stack:
            if recipe.awp and steps[0].progress >= recipe.awp_warmup:
                notes = self.notes.copy()
                first = steps[0].again(notes)
                ascent = [(share, step.again(notes, beside=first)) for share, step in parts]
                stack.enter_context(
                    perturbed(
                        self.model,
                        recipe.awp,
                        lambda: self._values(ascent).sum() / rows,
                        self.world,
                    )
                )
                steps += [step for _, step in ascent]
            values = self._values(parts)
            self.optimizer.zero_grad(set_to_none=True)
            (values.sum() / rows).backward()  # type: ignore[no-untyped-call]
            self.world.add_gradients(self.model.parameters())
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimizer.step()
        self.average.after_step()
        total = values.detach().sum().to(_widest(values.device))
        return torch.stack(
            [
                total,
                *(total.new_tensor(sum(getattr(step, name) for step in steps)) for name in COSTS),
            ]
        )

    def _values(self, parts: list[tuple[float, TrainStep]]) -> Tensor:
        """The loss of this process' rows [B]; a process without rows has none to give, but takes part in what follows."""
        if not len(parts[0][1].y):
            return torch.zeros(0, device=self.train.labels.device, requires_grad=True)
        return torch.stack(
            [share * self._checked(self.loss(step), step) for share, step in parts]
        ).sum(0)

    def _checked(self, values: Tensor, step: TrainStep) -> Tensor:
        if values.shape != step.y.shape:
            raise RunError(
                f"the loss returned shape {tuple(values.shape)}, not one value per sample, ({len(step.y)},)"
            )
        return values

    @property
    def _kept(self) -> str:
        return f" (epoch {self.epoch}, the last good one, is kept as @last)" if self.epoch else ""

    def validate(self) -> Validation:
        """Clean and under PGD-10, by the same engine that `robbench attack` uses; NaN without validation samples."""
        if not len(self.validation):
            return Validation(*[float("nan")] * 4)
        model = self.judged
        verdicts = evaluate(
            model,
            self.validation,
            self.threat,
            [Entry("validation", VALIDATION_ATTACK)],
            seed=self.recipe.seed,
            width=default_batch_size(self.validation.labels.device),
        ).verdicts
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
            "average": None if self.average.average is None else self.average.average.state_dict(),
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.notes.memories = state["memories"]
        if self.average.average is not None:
            self.average.average.load_state_dict(state["average"])

    def _set_rate(self, progress: float) -> float:
        rate = self.recipe.lr * SCHEDULES[self.recipe.schedule](progress)
        if self.recipe.warmup:
            rate *= min(1.0, progress / self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _fit_head(self) -> None:
        if self.loss.fits_head:
            model = self.judged
            with frozen(model), torch.no_grad():
                parts = [
                    model.features(self.train.pixels(slice(i, i + 256)))
                    for i in range(0, len(self.train), 256)
                ]
            with torch.no_grad():  # outside of the guard, which would put the head's buffers back
                self.loss.fit_head(model.head, torch.cat(parts), self.train.labels)

    def _labels(self, verdicts: list[Any]) -> list[int]:
        labels: Tensor = self.validation.labels[[v.sample for v in verdicts]]
        return list(labels.tolist())


def _widest(device: torch.device) -> torch.dtype:
    """The float type to count in: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), as the share of one of two gamma variables."""
    a, b = torch._standard_gamma(
        torch.tensor([alpha, alpha], dtype=torch.float64), generator
    ).tolist()
    return float(a / (a + b)) if a + b > 0 else 0.5
