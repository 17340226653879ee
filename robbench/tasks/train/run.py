"""Train one model: run the epochs of a plan, keep what is needed to resume and to evaluate.

A model lives in `<out>/models/<name>/`: model.safetensors (the selected weights), last.safetensors
or best.safetensors (the other ones), config.json (everything to rebuild it), epochs.parquet, and
state.pt while training is unfinished.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from robbench.core.config import process_number
from robbench.core.device import deterministic
from robbench.core.documents import require_regular
from robbench.core.errors import RunError, Stopped, UserError
from robbench.core.files import atomic_write, check_writable
from robbench.core.lock import locked
from robbench.data.base import reason
from robbench.models.create import create
from robbench.models.external import External
from robbench.models.weights import save
from robbench.store.epochs import write_epochs
from robbench.store.provenance import provenance
from robbench.store.schema import SCHEMA_VERSION
from robbench.tasks.model_folder import stored_config
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.plan import Plan
from robbench.threat.model import single_threat
from robbench.training.distributed import joined
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.trainer import Progress, Trainer


class Trained(NamedTuple):
    """What a training run left behind; `rows` are the epochs table's, `fresh` is False when it was there already."""

    folder: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    fresh: bool


class Watcher(Protocol):
    """What a caller may want to see of a run."""

    def begins(self, notes: Sequence[str]) -> None:
        """Training is about to begin, or to go on."""

    def batch(self, progress: Progress) -> None:
        """A batch is done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch and its validation are done."""

    def resumed(self, epoch: int) -> None:
        """An earlier run left off after this many epochs."""

    def waits(self, text: str) -> None:
        """Another process works on the same name."""


def train(plan: Plan, *, force: bool, watcher: Watcher, stop: StopFlag) -> Trained:
    """Run a plan, or resume it, or find it done. Raises UserError when the folder holds another run, Stopped when asked to."""
    if done := _done(plan, force=force):
        if any(
            path.exists() for path in _spare(plan.folder, done.config)
        ):  # of who was killed at its very end
            with _owned(plan, watcher, stop, wait=True):
                if done := _done(plan, force=force):
                    _drop_spare(plan.folder, done.config)
        if done:
            return done
    watcher.begins(plan.notes)
    alone = process_number("WORLD_SIZE", 1) <= 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(joined(plan.device))
        stack.enter_context(deterministic())
        session = _Session(plan, watcher, stop)
        if session.trainer.world.first:  # for all processes of this training
            check_writable(plan.folder.parent)
            stack.enter_context(_owned(plan, watcher, stop, wait=alone))
        if not alone:  # none may leave the others waiting within a step
            stack.enter_context(stop.unhurried())
        elif done := _done(plan, force=force):  # by whom was waited for
            return done
        resume = found_before(plan, force=force) is not None and not force
        return session.run(resume=resume)


def _done(plan: Plan, *, force: bool) -> Trained | None:
    """What an earlier process has trained, where there is nothing left to do."""
    found = found_before(plan, force=force)
    if (
        found
        and not force
        and found["status"] == "done"
        and (plan.folder / "model.safetensors").is_file()
    ):
        return Trained(plan.folder, found, [], fresh=False)
    return None


def _spare(folder: Path, config: dict[str, Any]) -> list[Path]:
    """What a finished model has no use for: its state, and the checkpoint that was selected, which is the model itself."""
    return [folder / "state.pt", folder / f"{config['selected']['model']}.safetensors"]


def _drop_spare(folder: Path, config: dict[str, Any]) -> None:
    for path in _spare(folder, config):
        path.unlink(missing_ok=True)


def _owned(
    plan: Plan, watcher: Watcher, stop: StopFlag, *, wait: bool
) -> contextlib.AbstractContextManager[None]:
    """The lock of a model's name; another training under it is waited for, or an error where other processes would wait too."""

    def say(text: str) -> None:
        if not wait:
            raise UserError(
                f"{text.partition(';')[0]}; wait for it to end, or choose another --name"
            )
        watcher.waits(text)

    path = plan.folder.with_name(f".{plan.name}.lock")
    return locked(path, f"model {plan.name}", say=say, asked_to_stop=stop.check)


def found_before(plan: Plan, *, force: bool) -> dict[str, Any] | None:
    """The config.json that is there already. Raises UserError when it is of another run, unless `force` replaces that."""
    found = stored_config(plan.folder)
    if found and not force and found["identity"] != plan.identity:
        changed = ", ".join(_differences(found, plan)) or "the data or the code"
        raise UserError(
            f"{plan.folder} holds another run (different: {changed}); choose another --name, or --force to replace it"
        )
    return found


class _Session:
    """One process' share of a training run."""

    def __init__(self, plan: Plan, watcher: Watcher, stop: StopFlag) -> None:
        self.plan, self.watcher, self.stop = plan, watcher, stop
        config, info = plan.config, plan.train.info()
        torch.manual_seed(config.seed)
        prepared = (
            plan.start.prepared(plan.loss, info)
            if plan.start
            else plan.loss.prepare(create(config.model, info), info)
        )
        model = prepared.to(plan.device)
        if isinstance(model, External):
            watcher.begins(model.notes)
        norms = [
            module
            for module in model.modules()
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        ]
        if config.batch_size == 1 and norms:
            raise UserError(
                f"--batch-size 1 leaves the batch-norm of {config.model} nothing to average; give 2 or more"
            )
        self.trainer = Trainer(
            model,
            plan.loss,
            plan.train,
            plan.validation,
            config,
            inner=plan.inner,
            threat=single_threat(plan.threat),
        )
        self.rows: list[dict[str, Any]] = []
        self.description = {
            "schema": "robbench.model/1", "name": plan.name, "model": config.model, "head": model.head_spec,
            "classes": list(info.classes), "shape": list(info.shape), "mean": list(info.mean), "std": list(info.std),
            "data": config.data, "identity": plan.identity, "config": plan.spec, "provenance": provenance(),
            **plan.parts, "start": plan.start.facts if plan.start else None,
        }  # fmt: skip

    def run(self, *, resume: bool) -> Trained:
        plan, trainer = self.plan, self.trainer
        state_file = plan.folder / "state.pt"
        if resume and state_file.exists():
            self._load(state_file)
            self.watcher.resumed(trainer.epoch)
        else:
            if trainer.world.first:
                self._clear()  # first: what is left of another run must not be taken for this one's
                self._write_config("training", None)
        while trainer.epoch < plan.config.epochs:
            try:
                row = trainer.run_epoch(self._watch)
            except RunError:
                if state_file.exists():  # so that the last good epoch can be looked at: NAME@last
                    self._load(state_file)
                    self._save("last")
                raise
            row["selected"] = False
            if self._is_best(row):
                self._save("best")
            self.rows.append(row)
            if trainer.world.first:
                self._save_state(state_file)
            self.watcher.epoch(row)
            if trainer.epoch < plan.config.epochs:
                self._stop_if_asked()
        return self._finish(state_file)

    def _save(self, which: str) -> None:
        if self.trainer.world.first:
            save(self.plan.folder, f"{which}.safetensors", self.trainer.averaged_model)

    def _watch(self, progress: Progress) -> None:
        self.watcher.batch(progress)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        # All processes at the same place, also when only one was asked: the others would wait for
        # it for ever.
        if exit_code := self.trainer.world.most(self.stop.exit_code):
            raise Stopped(exit_code)

    def _is_best(self, row: dict[str, Any]) -> bool:
        """By robust validation accuracy, then clean; of equals the latest. Without validation samples every epoch is."""
        score = _score(row)
        return all(score >= _score(before) for before in self.rows)

    def _finish(self, state_file: Path) -> Trained:
        plan = self.plan
        select = plan.config.select
        if (
            select == "auto"
        ):  # a model trained on clean data keeps the end of its recipe, as papers report it
            select = "best" if plan.inner is not None else "last"
        best = max(range(len(self.rows)), key=lambda i: (_score(self.rows[i]), i))
        chosen = best if select == "best" else len(self.rows) - 1
        self.rows[chosen]["selected"] = True
        selected = {"model": select, "epoch": chosen + 1, "best_epoch": best + 1}
        if not self.trainer.world.first:
            self.trainer.world.wait()
            return Trained(
                plan.folder,
                {**self.description, "status": "done", "selected": selected},
                self.rows,
                fresh=True,
            )
        self._save("last")
        atomic_write(
            plan.folder / "model.safetensors",
            lambda path: shutil.copyfile(plan.folder / f"{select}.safetensors", path),
        )
        self._write_epochs()
        description = self._write_config("done", selected)
        _drop_spare(plan.folder, description)
        self.trainer.world.wait()
        return Trained(plan.folder, description, self.rows, fresh=True)

    def _write_config(self, status: str, selected: dict[str, Any] | None) -> dict[str, Any]:
        description = {**self.description, "status": status, "selected": selected}
        text = json.dumps(description, indent=2, default=str) + "\n"
        atomic_write(
            self.plan.folder / "config.json", lambda path: path.write_text(text, encoding="utf-8")
        )
        return description

    def _write_epochs(self) -> None:
        common = {"model": self.plan.name, "schema_version": SCHEMA_VERSION}
        rows = [
            {**common, **{key: None if value != value else value for key, value in row.items()}}
            for row in self.rows
        ]
        write_epochs(self.plan.folder / "epochs.parquet", rows)  # NaN: not validated

    def _save_state(self, path: Path) -> None:
        state = {**trainer_state(self.trainer), "rows": self.rows}
        try:
            atomic_write(path, lambda temporary: torch.save(state, temporary))
        except RuntimeError as error:  # torch has its own words for what the system says
            raise RunError(f"cannot write {path} ({reason(error)})") from error
        self._write_epochs()

    def _load(self, path: Path) -> None:
        require_regular(path)
        try:
            state = torch.load(path, map_location=self.plan.device, weights_only=True)
            restore_trainer(self.trainer, state)
            self.rows = list(state["rows"])
            if [row["epoch"] for row in self.rows] != list(
                range(1, self.trainer.epoch + 1)
            ) or not all(map(_score, self.rows)):
                raise ValueError
        except Exception as error:
            raise UserError(
                f"{path} cannot be resumed ({type(error).__name__}); use --force to train again"
            ) from error

    def _clear(self) -> None:
        for file in (
            "state.pt",
            "epochs.parquet",
            *(f"{which}.safetensors" for which in ("model", "best", "last")),
        ):
            (self.plan.folder / file).unlink(missing_ok=True)


def _score(row: dict[str, Any]) -> tuple[float, float]:
    robust, clean = row["robust_accuracy"], row["clean_accuracy"]
    return (-1.0, -1.0) if math.isnan(robust) else (robust, clean)


def _differences(found: dict[str, Any], plan: Plan) -> list[str]:
    """What a config.json and a plan differ in: settings by their name, then what no setting says."""
    before, now = found["config"], plan.spec
    names = [key for key in now if key != "from_model" and before.get(key) != now[key]]
    code, start = found.get("code"), found.get("start")
    if code is not None:
        names += [
            f"the code of the {key}"
            for key, text in plan.parts["code"].items()
            if key not in names and code.get(key) != text
        ]
    if (start["hash"] if start else None) != plan.parts["start"]:
        names.append("the weights it starts from")
    elif "built" in found and found["built"] != plan.parts["built"] and "model" not in names:
        names.append("what the model's factory loads or sets")
    if "samples" in found and found["samples"] != plan.parts["samples"] and "data" not in names:
        names.append("the data")
    return names
