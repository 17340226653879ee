"""How long a training will take, from its first steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import torch

from robbench.analysis.forecast import TrainForecast
from robbench.core.device import deterministic
from robbench.core.freeze import kept
from robbench.tasks.forecast import device_text
from robbench.tasks.train.plan import TrainPlan
from robbench.tasks.train.run import new_trainer
from robbench.training.trainer import Progress

STEPS = 5  # that are measured, after one to warm up
SECONDS = 1.0  # that they may take


class StepTimer:
    """Times the first steps after the first one; it asks for the loss, so that a GPU is done."""

    def __init__(self, plan: TrainPlan, now: Callable[[], float] = time.perf_counter) -> None:
        self.plan = plan
        self.now = now
        self.began: float | None = None
        self.first = 0  # samples of the step that warmed up
        self.steps = 0
        self.over = False

    def step(self, progress: Progress) -> TrainForecast | None:
        """The forecast of what is left of the training, once, when enough has been measured."""
        if self.over:
            return None
        float(progress.loss)
        if self.began is None or progress.samples <= self.first:  # or another epoch
            self.began, self.first, self.steps = self.now(), progress.samples, 0
            return None
        self.steps += 1
        elapsed = self.now() - self.began
        if self.steps < STEPS and elapsed < SECONDS and progress.samples < progress.total:
            return None
        self.over = True
        config = self.plan.config
        per_step = elapsed / self.steps
        per_epoch = -(-progress.total // config.batch_size)
        steps = per_epoch * (config.epochs - progress.epoch)
        return TrainForecast(per_step * steps, steps, per_step, device_text(self.plan.device))


class _EnoughError(Exception):
    """The steps have been timed."""


def forecast_training(plan: TrainPlan) -> TrainForecast | None:
    """Time a few steps of a training that is thrown away; None where an epoch has one step only.

    Nothing is written; random states are left as they were.
    """
    timer, found = StepTimer(plan), list[TrainForecast]()

    def watch(progress: Progress) -> None:
        if forecast := timer.step(progress):
            found.append(forecast)
        if found or progress.samples >= progress.total:
            raise _EnoughError

    with deterministic(), kept(torch.nn.Module()), contextlib.suppress(_EnoughError):
        new_trainer(plan).run_epoch(watch)
    return found[0] if found else None
