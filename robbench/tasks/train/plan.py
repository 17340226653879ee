"""What a training run will do: its config with every name resolved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.config import process_number
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.spec import short_hash
from robbench.data.base import Split, require_classes
from robbench.data.generated import fitting
from robbench.data.load import default_threat, load
from robbench.data.loader import split_validation
from robbench.engine.flags import adaptations
from robbench.losses.base import Loss
from robbench.store.address.copies import bring
from robbench.store.store import Store
from robbench.tasks.codes import (
    Built,
    built,
    canonical_model,
    code_roots,
    data_code,
    data_roots,
    model_code,
)
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.inner_attack import build_inner, inner_spec
from robbench.tasks.train.naming import model_name
from robbench.tasks.train.saved import SavedModel
from robbench.tasks.train.start import find_start, prepared, require_architecture
from robbench.tasks.train.teacher import Teacher, counts_as, find_teacher, require_teacher
from robbench.threat.model import require_inside, single_threat
from robbench.training.distributed import local_device
from robbench.training.inner import Inner
from robbench.training.trainer import Generated, make_loader


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """A config with every name resolved; nothing has been written yet."""

    config: TrainConfig
    spec: dict[str, Any]  # the config as stored, with the defaults of data set and loss filled in
    name: str
    folder: Path
    loss: Loss
    inner: Inner | None
    threat: str
    train: Split
    validation: Split
    generated: Generated | None
    device: torch.device
    start: SavedModel | None
    teacher: Teacher | None
    fingerprints: dict[str, Any]  # of what no setting says: samples, code, files, weights
    identity: str  # hash of spec and fingerprints
    modules: tuple[str, ...]  # that the code of loss, model, data and inner attack begins with
    notes: tuple[str, ...]  # warnings: what works, but may not be what was meant

    @property
    def built_on(self) -> dict[str, dict[str, str] | None]:
        """What config.json says of the model that it starts from, and of a trained teacher."""
        teacher = self.teacher if isinstance(self.teacher, SavedModel) else None
        models = {"start": self.start, "teacher": teacher}
        return {role: model and model.facts for role, model in models.items()}


def plan_training(
    config: TrainConfig,
    *,
    name: str | None,
    out: Path,
    device: str,
    data_dir: Path | None,
    download: bool,
) -> TrainPlan:
    """Resolve a config. Raises UserError for what cannot work, before anything is written."""
    where = local_device(find_device(device))
    store = Store(out)
    require_architecture(config.model, store)
    loss = LOSSES.build(config.loss)
    taught_by = require_teacher(config, loss, store)
    data = load(config.data, "train", data_dir=data_dir, limit=config.limit, download=download)
    threat = single_threat(known_threat(config.threat or default_threat(config.data), config.data))
    require_inside([threat], data.images.shape[1:])
    inner_text = inner_spec(config, loss)
    inner = None if inner_text is None else build_inner(inner_text, config, loss, threat)
    require_classes(data)
    loss.check(data.info())
    require_fit(loss, config)
    train, validation = split_validation(data, config.validation, config.seed)
    generated = _generated(config, train, validation, data_dir=data_dir, download=download)
    _require_two_classes(train)
    name = model_name(name, config.loss)
    folder = store.models / name
    bring(folder)
    info, start = train.info(), None
    more = generated.split.notes if generated else ()
    notes = [*data.notes, *more, *_notes(config, loss, inner, inner_text, len(data.classes))]
    if config.from_model is not None:
        start = find_start(config.from_model, config.model, info, store, folder)
        prepared(start, loss, info)
        notes += start.renamed_classes(info)
    teacher = None if taught_by is None else find_teacher(taught_by, info, store, folder)
    if isinstance(teacher, SavedModel):
        notes += teacher.renamed_classes(info)
    made = built(config.model, info, config.seed, download=download)
    spec = _spec(config, threat.text, inner_text, taught_by)
    fingerprints = {
        **_fingerprints(data, generated, start, teacher),
        "code": _code(config, made, inner_text),
        "built": made.given,
    }
    # Other models count by their weights, whatever their names.
    counted = {name: value for name, value in spec.items() if name != "teacher"}
    return TrainPlan(
        config=config,
        spec=spec,
        name=name,
        folder=folder,
        loss=loss,
        inner=inner,
        threat=threat.text,
        train=train.to(where),
        validation=validation.to(where),
        generated=generated and generated._replace(split=generated.split.to(where)),
        device=where,
        start=start,
        teacher=teacher,
        fingerprints=fingerprints,
        identity=short_hash({**counted, **fingerprints, "from_model": None}),
        modules=_modules(config, made, loss, inner),
        notes=tuple(notes),
    )


def _spec(
    config: TrainConfig, threat: str, inner: str | None, teacher: str | None
) -> dict[str, Any]:
    """The settings with every option written out, but for those without effect.

    They are part of the identity.
    """
    settings = {
        **dataclasses.asdict(config),
        "threat": threat,
        "loss": LOSSES.canonical(config.loss, full=True),
        "inner": None if inner is None else ATTACKS.canonical(inner, full=True),
        "model": canonical_model(config.model),
        "teacher": teacher,
    }
    if config.generated is not None:
        return settings
    return {key: value for key, value in settings.items() if not key.startswith("generated")}


def _fingerprints(
    data: Split, generated: Generated | None, start: SavedModel | None, teacher: Teacher | None
) -> dict[str, Any]:
    """What identifies samples and other models, which no setting says."""
    return {
        "samples": data.fingerprint(ordered=True),
        **({} if data.free is None else {"fixed": data.fixed()}),
        **({} if generated is None else {"generated": generated.split.fingerprint(ordered=True)}),
        "start": start.hash if start else None,
        **({} if teacher is None else {"teacher": counts_as(teacher)}),
    }


def _code(config: TrainConfig, made: Built, inner: str | None) -> dict[str, Any]:
    """What identifies the code of all that a spec of the config names."""
    return {
        "loss": LOSSES.code(config.loss),
        "model": model_code(config.model, made.modules),
        "data": data_code(config.data),
        "inner": None if inner is None else ATTACKS.code(inner),
        **({} if config.generated is None else {"generated": data_code(config.generated)}),
    }


def _modules(config: TrainConfig, made: Built, loss: Loss, inner: Inner | None) -> tuple[str, ...]:
    """The modules that this code begins with."""
    return (
        type(loss).__module__,
        *code_roots(config.model),
        *sorted(made.modules),
        *data_roots(config.data),
        *(() if config.generated is None else data_roots(config.generated)),
        *(() if inner is None else (type(inner.attack).__module__,)),
    )


def _require_two_classes(train: Split) -> None:
    """Raise UserError where all samples are of one class."""
    if bool((train.labels == train.labels[0]).all()):
        raise UserError(
            f"all {len(train)} training samples are of one class; "
            "raise --limit, or name a data set with two"
        )


def _generated(
    config: TrainConfig, train: Split, validation: Split, *, data_dir: Path | None, download: bool
) -> Generated | None:
    """The generated data of a config, if any. Raises UserError where they do not fit its data."""
    if config.generated is None:
        return None
    found = load(config.generated, "train", data_dir=data_dir, download=download)
    generated = Generated(fitting(found, train, validation), config.generated_ratio)
    make_loader(train, config, generated)
    return generated


def known_threat(text: str | None, data: str) -> str:
    """The threat model's text. Raises UserError where neither the user nor the data set has one."""
    if text is None:
        raise UserError(
            f"data '{data}' has no usual threat model, and attacks, also of validation, "
            "need one: --threat linf:8/255"
        )
    return text


def require_fit(loss: Loss, config: TrainConfig) -> None:
    """Raise UserError where a loss cannot train with the settings of a recipe."""
    if loss.batch_coupled and config.batch_size == 1:
        raise UserError(
            f"loss {config.loss} compares the samples of a batch; give --batch-size 2 or more"
        )
    if loss.stateful and config.mixup:
        raise UserError(
            f"loss {config.loss} keeps something of every sample, "
            "and mixup gives it two labels; leave out mixup"
        )


def _notes(
    config: TrainConfig, loss: Loss, inner: Inner | None, inner_text: str | None, classes: int
) -> list[str]:
    notes = []
    processes = process_number("WORLD_SIZE", 1)
    if processes > 1 and loss.batch_coupled:
        notes.append(
            f"loss {config.loss} depends on the batch, "
            f"and each of {processes} processes has its share for a batch"
        )
    notes += _without_effect(config, loss, inner)
    if inner is not None:
        attacks = [(str(inner_text), inner.attack)]
        return notes + [flag.text for flag in adaptations(classes, attacks)]
    if config.threat is not None:
        notes.append(
            f"no inner attack: training sees clean inputs, {config.threat} is for validation only "
            "(--inner pgd changes that)"
        )
    return notes


def _without_effect(config: TrainConfig, loss: Loss, inner: Inner | None) -> list[str]:
    """A note for each group of settings that were changed and have no effect."""
    off = {
        "no inner attack": () if inner else ("eps_warmup", "inner_beyond", "inner_mode"),
        f"loss {config.loss} takes all steps": ("inner_beyond",) if loss.nearest and inner else (),
        "no EMA": () if config.average == "ema" else ("ema_decay",),
        "no AWP": () if config.awp else ("awp_warmup",),
        "awp_warmup is all of training": ("awp",) if config.awp_warmup == 1 else (),
        f"{config.optimizer} has none": () if config.optimizer == "sgd" else ("momentum",),
        "no generated data": () if config.generated else ("generated_ratio",),
        "no validation samples": () if config.validation else ("select",),
    }
    default = TrainConfig()
    notes = []
    for why, settings in off.items():
        idle = [name for name in settings if getattr(config, name) != getattr(default, name)]
        if idle:
            notes.append(
                f"{why}: {', '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect"
            )
    return notes
