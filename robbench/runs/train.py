"""Train one model: resolve what the config names, run the epochs, keep what is needed to resume and to evaluate.

A model lives in `<out>/models/<name>/`: model.safetensors (the selected weights), last.safetensors or best.safetensors (the
other ones), config.json (everything to rebuild it), epochs.parquet, and state.pt while training is unfinished.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from robbench.attacks.base import AnyRowAttack, Attack
from robbench.core.builtins import ATTACKS, LOSSES, MODELS
from robbench.core.config import TrainConfig
from robbench.core.device import deterministic, find_device
from robbench.core.errors import RunError, Stopped, UserError
from robbench.core.files import atomic_write
from robbench.core.registry import code_of, import_target
from robbench.core.spec import options_of, short_hash, validate
from robbench.data.base import Split, require_classes
from robbench.data.load import default_threat, load
from robbench.data.loader import split_validation
from robbench.engine.flags import adaptations
from robbench.losses.base import Loss
from robbench.models.create import create
from robbench.models.weights import load_model, save
from robbench.objectives import TARGETED
from robbench.results.provenance import provenance
from robbench.results.schema import SCHEMA_VERSION
from robbench.results.store import Store, write_epochs
from robbench.runs.signals import StopFlag
from robbench.threat.model import single_threat
from robbench.training.distributed import joined, local_device
from robbench.training.step import Inner
from robbench.training.trainer import Progress, Recipe, Trainer

CONFIG_KEYS = {"identity", "status", "selected", "config", "name", "model", "head", "classes", "shape", "mean", "std"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """A config with every name resolved; nothing has been written yet."""

    config: TrainConfig
    name: str
    folder: Path
    loss: Loss
    inner: Inner | None
    threat: str
    train: Split
    validation: Split
    device: torch.device
    identity: str
    notes: tuple[str, ...] = ()  # what works, and perhaps not as it was meant

    @property
    def spec(self) -> dict[str, Any]:
        """The config as it is stored, with defaults of data set and loss filled in."""
        inner = None if self.inner is None else ATTACKS.canonical(self.config.inner or str(self.loss.inner), full=True)
        loss = LOSSES.canonical(self.config.loss, full=True)
        model = canonical_model(self.config.model)
        return {**dataclasses.asdict(self.config), "threat": self.threat, "loss": loss, "inner": inner, "model": model}


def plan_training(
    config: TrainConfig, *, name: str | None, out: Path, device: str, data_dir: Path | None, download: bool
) -> Plan:
    """Resolve a config. Raises UserError for anything that cannot work, before anything is written."""
    where = local_device(find_device(device))
    loss = LOSSES.build(config.loss)
    data = load(config.data, "train", data_dir=data_dir, limit=config.limit, download=download)
    threat = single_threat(known_threat(config.threat or default_threat(config.data), config.data))
    inner_text = config.inner or loss.inner
    inner = None
    if inner_text is not None and inner_text != "none":
        if loss.plain:
            raise UserError(f"loss {config.loss} trains without an inner attack; leave out --inner, or give --inner none")
        if threat.eps == 0:
            raise UserError(f"--threat {threat.text} leaves the inner attack no budget; --inner none trains on clean inputs")
        inner = Inner(
            _inner_attack(inner_text, threat.norm, loss.climbs), threat, config.inner_mode, config.eps_warmup, config.inner_beyond
        )
    elif loss.inner is not None:
        raise UserError(
            f"loss {config.loss} needs an inner attack; leave out --inner none or give one such as --inner {loss.inner}"
        )
    require_classes(data)
    loss.check(data.info())
    if loss.batch_coupled and config.batch_size == 1:
        raise UserError(f"loss {config.loss} compares the samples of a batch; give --batch-size 2 or more")
    if loss.stateful and config.mixup:
        raise UserError(f"loss {config.loss} keeps something of every sample, and mixup gives it two labels; leave out mixup")
    train, validation = split_validation(data, config.validation, config.seed)
    if bool((train.labels == train.labels[0]).all()):
        raise UserError(f"all {len(train)} training samples are of one class; raise --limit, or name a data set with two")
    if name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", config.loss).strip("-")
    if not NAME.fullmatch(name):
        raise UserError(f"model name '{name}': use letters, digits, '.', '_' and '-', starting with a letter or digit")
    plan = Plan(
        config, name, Store(out).models / name, loss, inner, threat.text, train.to(where), validation.to(where), where, ""
    )
    code = [LOSSES.code(config.loss), model_code(config.model), ATTACKS.code(str(inner_text)) if inner else None]
    identity = {**plan.spec, "samples": data.fingerprint(ordered=True), "code": code}
    notes = _notes(config, inner, inner_text, len(data.classes))
    return dataclasses.replace(plan, identity=short_hash(identity), notes=tuple(notes))


def _notes(config: TrainConfig, inner: Inner | None, inner_text: str | None, classes: int) -> list[str]:
    off = {
        "no inner attack": () if inner else ("eps_warmup", "inner_beyond", "inner_mode"),
        "no EMA": () if config.average == "ema" else ("ema_decay",),
        "no AWP": () if config.awp else ("awp_warmup",),
        f"{config.optimizer} has none": () if config.optimizer == "sgd" else ("momentum",),
        "no validation samples": () if config.validation else ("select",),
    }
    default = TrainConfig()
    idle = {why: [name for name in names if getattr(config, name) != getattr(default, name)] for why, names in off.items()}
    notes = [
        f"{why}: {', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect" for why, names in idle.items() if names
    ]
    if inner is not None:
        return notes + [flag.text for flag in adaptations(classes, [(str(inner_text), inner.attack)])]
    if config.threat is not None:
        notes.append(
            f"no inner attack: training sees clean inputs, {config.threat} is for validation only (--inner pgd changes that)"
        )
    return notes


def known_threat(text: str | None, data: str) -> str:
    """The threat model's text, or a UserError when neither the user nor the data set names one."""
    if text is None:
        raise UserError(f"data '{data}' has no usual threat model; give one such as --threat linf:8/255")
    return text


def canonical_model(text: str) -> str:
    """A model spec with every option spelled out; private factories stay as they were written."""
    return MODELS.canonical(text, full=True) if text.partition(":")[0] in MODELS.entries else text


def model_code(text: str) -> str:
    """As `Registry.code`, also for private factories, which are no registered classes."""
    name, colon, rest = text.partition(":")
    if name in MODELS.entries or not colon:
        return MODELS.code(text)
    import_target(f"{name}:{rest.partition(':')[0]}", f"model '{text}'")
    return code_of(name, None)


def _inner_attack(text: str, norm: str, climbs: str | None) -> AnyRowAttack:
    attack = ATTACKS.build(text)
    if not isinstance(attack, Attack):
        raise UserError(f"--inner {text}: a backend cannot run inside training; use fgsm, pgd or another attack of ours")
    if attack.seeks != "any":
        raise UserError(f"--inner {text}: it looks for the smallest perturbation, not inside a budget; use pgd or apgd")
    if attack.sees == "nothing":
        raise UserError(f"--inner {text}: it learns nothing from the model in training; use pgd, apgd or fgsm")
    if getattr(attack, "objective", None) in TARGETED:
        raise UserError(f"--inner {text}: a targeted attack cannot run inside training; choose another objective")
    if attack.variants(2) > 1:
        raise UserError(f"--inner {text}: training makes one run per step; leave out restarts")
    if climbs is not None:
        if getattr(attack, "init", None) == "clean" and climbs == "kl-from-clean":
            raise UserError(f"--inner {text}: {climbs} has no gradient at the clean input; use init=uniform or init=gaussian")
        validate(type(attack), {**options_of(attack), "objective": climbs}, f"--inner {text}, for a loss that climbs {climbs}")
    if norm not in attack.norms:
        raise UserError(f"--inner {text} does not work in {norm}; it knows {', '.join(sorted(attack.norms))}")
    return attack


def train(plan: Plan, *, force: bool, watcher: Watcher, stop: StopFlag) -> Trained:
    """Run a plan, or resume it, or find it done. Raises UserError when the folder holds another run, Stopped when asked to."""
    found = stored_config(plan.folder)
    if found and not force and found["identity"] != plan.identity:
        changed = ", ".join(_differences(found["config"], plan.spec)) or "the data"
        raise UserError(
            f"{plan.folder} holds another run (different: {changed}); choose another --name, or --force to replace it"
        )
    if found and not force and found["status"] == "done" and (plan.folder / "model.safetensors").is_file():
        return Trained(plan.folder, found, [], fresh=False)
    watcher.begins(plan.notes)
    with joined(plan.device), deterministic():
        return _Session(plan, watcher, stop).run(resume=bool(found) and not force)


class _Session:
    """One process' share of a training run."""

    def __init__(self, plan: Plan, watcher: Watcher, stop: StopFlag) -> None:
        self.plan, self.watcher, self.stop = plan, watcher, stop
        config, info = plan.config, plan.train.info()
        torch.manual_seed(config.seed)
        model = plan.loss.prepare(create(config.model, info), info).to(plan.device)
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        if config.batch_size == 1 and norms:
            raise UserError(f"--batch-size 1 leaves the batch-norm of {config.model} nothing to average; give 2 or more")
        recipe = Recipe(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Recipe)})
        self.trainer = Trainer(
            model, plan.loss, plan.train, plan.validation, recipe, inner=plan.inner, threat=single_threat(plan.threat)
        )
        self.rows: list[dict[str, Any]] = []
        self.description = {
            "schema": "robbench.model/1", "name": plan.name, "model": config.model, "head": model.head_spec,
            "classes": list(info.classes), "shape": list(info.shape), "mean": list(info.mean), "std": list(info.std),
            "data": config.data, "identity": plan.identity, "config": plan.spec, "provenance": provenance(),
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
            save(self.plan.folder, f"{which}.safetensors", self.trainer.judged)

    def _watch(self, progress: Progress) -> None:
        self.watcher.batch(progress)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        # All processes at the same place, also when only one was asked: the others would wait for it for ever.
        if exit_code := self.trainer.world.most(self.stop.exit_code):
            raise Stopped(exit_code)

    def _is_best(self, row: dict[str, Any]) -> bool:
        """By robust validation accuracy, then clean; of equals the latest. Without validation samples every epoch is."""
        score = _score(row)
        return all(score >= _score(before) for before in self.rows)

    def _finish(self, state_file: Path) -> Trained:
        plan = self.plan
        select = plan.config.select
        if select == "auto":  # a model trained on clean data keeps the end of its recipe, as papers report it
            select = "best" if plan.inner is not None else "last"
        best = max(range(len(self.rows)), key=lambda i: (_score(self.rows[i]), i))
        chosen = best if select == "best" else len(self.rows) - 1
        self.rows[chosen]["selected"] = True
        selected = {"model": select, "epoch": chosen + 1, "best_epoch": best + 1}
        if not self.trainer.world.first:
            self.trainer.world.wait()
            return Trained(plan.folder, {**self.description, "status": "done", "selected": selected}, self.rows, fresh=True)
        self._save("last")
        atomic_write(plan.folder / "model.safetensors", lambda path: shutil.copyfile(plan.folder / f"{select}.safetensors", path))
        self._write_epochs()
        description = self._write_config("done", selected)
        (plan.folder / f"{select}.safetensors").unlink()
        state_file.unlink(missing_ok=True)
        self.trainer.world.wait()
        return Trained(plan.folder, description, self.rows, fresh=True)

    def _write_config(self, status: str, selected: dict[str, Any] | None) -> dict[str, Any]:
        description = {**self.description, "status": status, "selected": selected}
        text = json.dumps(description, indent=2, default=str) + "\n"
        atomic_write(self.plan.folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))
        return description

    def _write_epochs(self) -> None:
        common = {"model": self.plan.name, "schema_version": SCHEMA_VERSION}
        rows = [{**common, **{key: None if value != value else value for key, value in row.items()}} for row in self.rows]
        write_epochs(self.plan.folder / "epochs.parquet", rows)  # NaN: not validated

    def _save_state(self, path: Path) -> None:
        state = {**self.trainer.state(), "rows": self.rows}
        atomic_write(path, lambda temporary: torch.save(state, temporary))
        self._write_epochs()

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.plan.device, weights_only=True)
            self.trainer.load_state(state)
            self.rows = state["rows"]
        except Exception as error:
            raise UserError(f"{path} cannot be resumed ({type(error).__name__}); use --force to train again") from error

    def _clear(self) -> None:
        for file in ("state.pt", "epochs.parquet", *(f"{which}.safetensors" for which in ("model", "best", "last"))):
            (self.plan.folder / file).unlink(missing_ok=True)


def _score(row: dict[str, Any]) -> tuple[float, float]:
    robust, clean = row["robust_accuracy"], row["clean_accuracy"]
    return (-1.0, -1.0) if math.isnan(robust) else (robust, clean)


def stored_config(folder: Path) -> dict[str, Any] | None:
    """The config.json of a model folder, None when there is none. UserError when it is damaged or the folder is not ours."""
    for place in (folder.parent, folder):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place} is a file, not a folder; choose another --name or --out")
    path = folder / "config.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no model of ours; choose another --name or --out")
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(found, dict) and found["schema"] == "robbench.model/1" and found.keys() >= CONFIG_KEYS
        whole = whole and isinstance(found["config"]["data"], str) and isinstance(found["model"], str)
        whole = whole and (found["status"] != "done" or found["selected"]["model"] in ("best", "last"))
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged or not ours; move the folder away or choose another --name")
    return dict(found)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key in now if before.get(key) != now[key]]


def read_model(folder: Path, which: str | None, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """A trained model and its config; `which` is `best` or `last` when it is not the selected one."""
    config = stored_config(folder)
    if config is None:
        raise UserError(f"{folder} holds no model")
    if which is not None and which not in ("best", "last"):
        raise UserError(f"'@{which}': write NAME, NAME@best or NAME@last")
    if config["status"] == "done":
        which = None if which == config["selected"]["model"] else which
    elif which is None or not (folder / f"{which}.safetensors").is_file():
        raise UserError(f"model {config['name']} is not finished; give its train command again to go on")
    model, _ = load_model(folder, which)  # type: ignore[arg-type]
    return model.to(device), config
