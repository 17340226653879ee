"""Train one model: run the epochs of a plan, keep what is needed to resume and to evaluate."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from robbench.core.config import process_number
from robbench.core.device import deterministic
from robbench.core.errors import RunError, Stopped, UserError
from robbench.core.files import check_writable
from robbench.models.base import Classifier
from robbench.models.create import create
from robbench.store.provenance import provenance
from robbench.tasks.kept_code import keep_code
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.folder import Rows, TrainingFolder
from robbench.tasks.train.plan import TrainPlan
from robbench.tasks.train.saved import SavedModel
from robbench.tasks.train.selection import is_best, select
from robbench.tasks.train.start import prepared
from robbench.threat.model import single_threat
from robbench.training.distributed import joined
from robbench.training.trainer import Progress, Trainer


class Trained(NamedTuple):
    """The result of a training run."""

    folder: Path
    config: dict[str, Any]  # of its config.json
    rows: Rows  # of the epochs table
    fresh: bool  # False if the model was there already


class Watcher(Protocol):
    """The callbacks of a training run."""

    def begins(self, notes: Sequence[str]) -> None:
        """Training begins, or goes on; `notes` are warnings."""

    def batch(self, progress: Progress) -> None:
        """A batch is done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch and its validation are done; the row of the epochs table."""

    def resumed(self, epoch: int) -> None:
        """Training resumes after this many epochs of an earlier run."""

    def waits(self, text: str) -> None:
        """Another process trains under the same name; training waits for it."""


def train(plan: TrainPlan, *, force: bool, watcher: Watcher, stop: StopFlag) -> Trained:
    """Run a plan, resume it, or find it finished. Prints nothing.

    With `force` an earlier run is replaced. Raises UserError where the folder holds another run,
    RunError where training fails, Stopped when `stop` is set; the finished epochs are kept.
    """
    folder = TrainingFolder(plan, force=force)
    if done := _finished(folder, watcher, stop):
        return Trained(plan.folder, done, folder.read_epochs(), fresh=False)
    watcher.begins(plan.notes)
    alone = process_number("WORLD_SIZE", 1) <= 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(joined(plan.device))
        stack.enter_context(deterministic())
        session = _Session(plan, folder, watcher, stop)
        if session.trainer.world.first:  # for all processes of this training
            check_writable(plan.folder.parent)
            stack.enter_context(folder.lock(watcher.waits, stop, wait=alone))
        if not alone:  # an interrupted process would leave the others waiting within a step
            stack.enter_context(stop.unhurried())
        elif done := folder.finished():  # by the process that held the lock
            return Trained(plan.folder, done, folder.read_epochs(), fresh=False)
        return session.run(resume=folder.earlier() is not None)


def _finished(folder: TrainingFolder, watcher: Watcher, stop: StopFlag) -> dict[str, Any] | None:
    """The config.json of a finished run, whose leftovers are dropped."""
    done = folder.finished()
    if done and folder.has_leftovers(done):
        with folder.lock(watcher.waits, stop, wait=True):
            if done := folder.finished():
                folder.drop_leftovers(done)
    return done


class _Session:
    """One process' share of a training run; the first process writes the files."""

    def __init__(
        self, plan: TrainPlan, folder: TrainingFolder, watcher: Watcher, stop: StopFlag
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.watcher = watcher
        self.stop = stop
        model = _model(plan)
        watcher.begins(model.notes)
        self.trainer = new_trainer(plan, model)
        self.rows: Rows = []
        self.begun = False  # whether the folder is this run's
        self.description = _description(plan, model)

    def run(self, *, resume: bool) -> Trained:
        trainer, folder = self.trainer, self.folder
        if resume and folder.state.exists():
            self.rows, self.begun = folder.read_state(trainer), True
            if is_best(self.rows[-1], self.rows[:-1]):
                self._save("best")  # a kill may have come between the state and it
            else:
                folder.require_best(trainer)
            self.watcher.resumed(trainer.epoch)
        while trainer.epoch < self.plan.config.epochs:
            row = self._epoch()
            row["selected"] = False
            best = is_best(row, self.rows)
            self.rows.append(row)
            if trainer.world.first:
                folder.write_state(trainer, self.rows)
            if best:  # after the state: the best weights of an epoch that is not kept would stay
                self._save("best")
            self.watcher.epoch(row)
            if trainer.epoch < self.plan.config.epochs:
                self._stop_if_asked()
        return self._finish()

    def _epoch(self) -> dict[str, Any]:
        try:
            return self.trainer.run_epoch(self._watch)
        except RunError:
            if self.begun and self.folder.state.exists():  # keep the last good epoch, as NAME@last
                self.folder.read_state(self.trainer)
                self._save("last")
            raise

    def _save(self, which: str) -> None:
        if self.trainer.world.first:
            self.folder.write_weights(which, self.trainer.averaged_model)

    def _begin(self) -> None:
        """Take over the folder: after a batch, as a loss may refuse its first one."""
        folder, self.begun = self.folder, True
        if self.trainer.world.first:
            folder.clear()  # first: files of another run must not be taken for this one's
            keep_code(folder.path / "code", self.plan.modules)
            folder.write_config({**self.description, "status": "training", "selected": None})

    def _watch(self, progress: Progress) -> None:
        if not self.begun:
            self._begin()
        self.watcher.batch(progress)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        # All processes at the same place, also when only one was asked: the others would wait for
        # it for ever.
        if exit_code := self.trainer.world.most(self.stop.exit_code):
            raise Stopped(exit_code)

    def _finish(self) -> Trained:
        plan, folder = self.plan, self.folder
        selected = select(self.rows, plan.config.select, adversarial=plan.inner is not None)
        self.rows[selected["epoch"] - 1]["selected"] = True
        config = {**self.description, "status": "done", "selected": selected}
        if self.trainer.world.first:
            self._save("last")
            folder.write_model(selected["model"])
            folder.write_epochs(self.rows)
            folder.write_config(config)
            folder.drop_leftovers(config)
        self.trainer.world.wait()
        return Trained(plan.folder, config, self.rows, fresh=True)


def new_trainer(plan: TrainPlan, model: Classifier | None = None) -> Trainer:
    """The trainer of a plan before its first step, by default of a fresh model.

    Raises UserError where batch-norm cannot train.
    """
    return Trainer(
        model or _model(plan),
        plan.loss,
        plan.train,
        plan.validation,
        plan.config,
        inner=plan.inner,
        threat=single_threat(plan.threat),
        teacher=plan.teacher.model.to(plan.device)
        if isinstance(plan.teacher, SavedModel)
        else plan.teacher,
        generated=plan.generated,
    )


def _model(plan: TrainPlan) -> Classifier:
    """The model to train, on the plan's device. Raises UserError where batch-norm cannot train."""
    config, info = plan.config, plan.train.info()
    torch.manual_seed(config.seed)
    model = (
        prepared(plan.start, plan.loss, info)
        if plan.start
        else plan.loss.prepare(create(config.model, info), info)
    ).to(plan.device)
    if config.batch_size == 1 and any(isinstance(part, _BatchNorm) for part in model.modules()):
        raise UserError(
            f"--batch-size 1 leaves the batch-norm of {config.model} nothing to average; "
            "give 2 or more"
        )
    return model


def _description(plan: TrainPlan, model: Classifier) -> dict[str, Any]:
    """The config.json of a run but for its status and selection."""
    info = plan.train.info()
    return {
        "schema": "robbench.model/1",
        "name": plan.name,
        "model": plan.config.model,
        "head": model.head_spec,
        "classes": list(info.classes),
        "shape": list(info.shape),
        "mean": list(info.mean),
        **({} if info.units is None else {"units": [list(part) for part in info.units]}),
        "std": list(info.std),
        "data": plan.config.data,
        "identity": plan.identity,
        "config": plan.spec,
        "provenance": provenance(),
        **plan.fingerprints,
        **plan.built_on,
    }
