"""What a training run will do: a config with every name resolved, or the reason why it cannot work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch

from robbench.attacks.base import AnyRowAttack, Attack
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.catalogue.cascades import cascades
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.spec import options_of, short_hash, validate
from robbench.data.base import Split, require_classes
from robbench.data.load import default_threat, load
from robbench.data.loader import split_validation
from robbench.engine.flags import adaptations
from robbench.losses.base import Loss
from robbench.objectives import TARGETED
from robbench.store.store import Store
from robbench.tasks.codes import built, canonical_model, data_code, model_code
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.start import Start, find_start, renamed_classes, require_architecture
from robbench.threat.model import require_inside, single_threat
from robbench.training.distributed import local_device
from robbench.training.inner import Inner

LONGEST_NAME = 200  # file systems take 255 bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A config with every name resolved; nothing has been written yet.

    `parts`: what the identity rests on and no setting says, such as samples and versions of code.
    """

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
    parts: dict[str, Any] = dataclasses.field(default_factory=dict)
    start: Start | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The config as it is stored, with defaults of data set and loss filled in."""
        inner = (
            None
            if self.inner is None
            else ATTACKS.canonical(self.config.inner or str(self.loss.inner), full=True)
        )
        loss = LOSSES.canonical(self.config.loss, full=True)
        model = canonical_model(self.config.model)
        return {
            **dataclasses.asdict(self.config),
            "threat": self.threat,
            "loss": loss,
            "inner": inner,
            "model": model,
        }


def plan_training(
    config: TrainConfig,
    *,
    name: str | None,
    out: Path,
    device: str,
    data_dir: Path | None,
    download: bool,
) -> Plan:
    """Resolve a config. Raises UserError for anything that cannot work, before anything is written."""
    where = local_device(find_device(device))
    require_architecture(config.model, Store(out))
    loss = LOSSES.build(config.loss)
    data = load(config.data, "train", data_dir=data_dir, limit=config.limit, download=download)
    threat = single_threat(known_threat(config.threat or default_threat(config.data), config.data))
    require_inside([threat], data.images.shape[1:])
    inner_text = config.inner or loss.inner
    inner = None
    if inner_text is not None and inner_text != "none":
        if loss.plain:
            raise UserError(
                f"loss {config.loss} trains without an inner attack; leave out --inner, or give --inner none"
            )
        if threat.eps == 0:
            raise UserError(
                f"--threat {threat.text} leaves the inner attack no budget; --inner none trains on clean inputs"
            )
        inner = Inner(
            _inner_attack(inner_text, threat.norm_name, loss.climbs),
            threat,
            config.inner_mode,
            config.eps_warmup,
            config.inner_beyond,
        )
    elif loss.inner is not None:
        raise UserError(
            f"loss {config.loss} needs an inner attack; leave out --inner none or give one such as --inner {loss.inner}"
        )
    require_classes(data)
    loss.check(data.info())
    if loss.batch_coupled and config.batch_size == 1:
        raise UserError(
            f"loss {config.loss} compares the samples of a batch; give --batch-size 2 or more"
        )
    if loss.stateful and config.mixup:
        raise UserError(
            f"loss {config.loss} keeps something of every sample, and mixup gives it two labels; leave out mixup"
        )
    train, validation = split_validation(data, config.validation, config.seed)
    if bool((train.labels == train.labels[0]).all()):
        raise UserError(
            f"all {len(train)} training samples are of one class; raise --limit, or name a data set with two"
        )
    if name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", config.loss).strip("-")
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"model name '{name[:40]}...' has {len(name)} characters; give a --name of {LONGEST_NAME} at most"
        )
    if not NAME.fullmatch(name):
        raise UserError(
            f"model name '{name}': use letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    plan = Plan(
        config,
        name,
        Store(out).models / name,
        loss,
        inner,
        threat.text,
        train.to(where),
        validation.to(where),
        where,
        "",
    )
    notes = [*data.notes, *_notes(config, inner, inner_text, len(data.classes))]
    info, start = train.info(), None
    if config.from_model is not None:
        start = find_start(config.from_model, config.model, info, Store(out), plan.folder)
        start.prepared(loss, info)
        notes += renamed_classes(start, info)
    made = built(config.model, info, config.seed)
    code = {
        "loss": LOSSES.code(config.loss), "model": model_code(config.model, made.modules), "data": data_code(config.data),
        "inner": ATTACKS.code(str(inner_text)) if inner else None,
    }  # fmt: skip
    parts = {
        "samples": data.fingerprint(ordered=True),
        "code": code,
        "built": made.given,
        "start": start.hash if start else None,
    }
    identity = short_hash(
        {**plan.spec, **parts, "from_model": None}
    )  # by its weights, however it is named
    return dataclasses.replace(
        plan, identity=identity, notes=tuple(notes), parts=parts, start=start
    )


def _notes(
    config: TrainConfig, inner: Inner | None, inner_text: str | None, classes: int
) -> list[str]:
    off = {
        "no inner attack": () if inner else ("eps_warmup", "inner_beyond", "inner_mode"),
        "no EMA": () if config.average == "ema" else ("ema_decay",),
        "no AWP": () if config.awp else ("awp_warmup",),
        f"{config.optimizer} has none": () if config.optimizer == "sgd" else ("momentum",),
        "no validation samples": () if config.validation else ("select",),
    }
    default = TrainConfig()
    idle = {
        why: [name for name in names if getattr(config, name) != getattr(default, name)]
        for why, names in off.items()
    }
    notes = [
        f"{why}: {', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect"
        for why, names in idle.items()
        if names
    ]
    if inner is not None:
        return notes + [
            flag.text for flag in adaptations(classes, [(str(inner_text), inner.attack)])
        ]
    if config.threat is not None:
        notes.append(
            f"no inner attack: training sees clean inputs, {config.threat} is for validation only (--inner pgd changes that)"
        )
    return notes


def known_threat(text: str | None, data: str) -> str:
    """The threat model's text, or a UserError when neither the user nor the data set names one."""
    if text is None:
        raise UserError(
            f"data '{data}' has no usual threat model, and attacks, also of validation, need one: --threat linf:8/255"
        )
    return text


def _inner_attack(text: str, norm: str, climbs: str | None) -> AnyRowAttack:
    if text in cascades():
        raise UserError(
            f"--inner {text}: a cascade cannot be an inner attack; use pgd, apgd or fgsm"
        )
    attack = ATTACKS.build(text)
    if not isinstance(attack, Attack):
        raise UserError(
            f"--inner {text}: a backend cannot run inside training; use fgsm, pgd or another attack of ours"
        )
    if attack.goal != "fixed-eps":
        raise UserError(
            f"--inner {text}: it looks for the smallest perturbation, not inside a budget; use pgd or apgd"
        )
    if attack.access == "none":
        raise UserError(
            f"--inner {text}: it learns nothing from the model in training; use pgd, apgd or fgsm"
        )
    if getattr(attack, "objective", None) in TARGETED:
        raise UserError(
            f"--inner {text}: a targeted attack cannot run inside training; choose another objective"
        )
    if attack.variants(2) > 1:
        raise UserError(f"--inner {text}: training makes one run per step; leave out restarts")
    if climbs is not None:
        if getattr(attack, "init", None) == "clean" and climbs == "kl-from-clean":
            raise UserError(
                f"--inner {text}: {climbs} has no gradient at the clean input; use init=uniform or init=gaussian"
            )
        validate(
            type(attack),
            {**options_of(attack), "objective": climbs},
            f"--inner {text}, for a loss that climbs {climbs}",
        )
    if norm not in attack.norms:
        raise UserError(
            f"--inner {text} does not work in {norm}; it knows {', '.join(sorted(attack.norms))}"
        )
    return attack
