"""What can be known of tasks before any begins: specs, settings, names of models, data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.catalogue.cascades import cascades
from robbench.core.config import SPECS
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.spec import canonical_json, option_names, validate
from robbench.data.load import default_threat, load
from robbench.store.store import Store
from robbench.tasks.attack.config import USUAL_ATTACK, AttackConfig
from robbench.tasks.attack.corruption import without_attacks
from robbench.tasks.attack.entries import build_entries
from robbench.tasks.attack.threats import parse_threats
from robbench.tasks.certify import METHOD, require_certifiable
from robbench.tasks.codes import canonical_model
from robbench.tasks.model_folder import stored_config
from robbench.tasks.model_names import known_models
from robbench.tasks.sweep.axes import value_text
from robbench.tasks.sweep.plan import Item, SweepPlan
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.inner_attack import build_inner, inner_spec
from robbench.tasks.train.plan import known_threat, require_fit
from robbench.tasks.train.settings import settings_with_recipe
from robbench.tasks.train.start import require_architecture
from robbench.tasks.train.teacher import require_teacher
from robbench.threat.model import single_threat

_LOOK = 8  # samples of a data set
_CANONICAL = {"loss": LOSSES.canonical, "inner": ATTACKS.canonical, "attack": ATTACKS.canonical}


def require_possible(
    plan: SweepPlan,
    todo: Sequence[Item],
    *,
    out: Path,
    device: str | None,
    data_dir: Path | None,
    download: bool,
    force: bool,
) -> None:
    """Look at each distinct setting of the tasks to come once.

    device: of the tasks; None: one of another machine.
    Raises UserError for what cannot work: a spec that is unknown or malformed, two values of the
    grid that are one, an inner attack that does not fit its loss, a name that holds a model of
    other settings, a data set or a device that is not there. Nothing is written.
    """
    if device is not None:
        find_device(device)
    _require_different(plan)
    trainings = [item for item in todo if item.kind == "train"]
    attacks = [item for item in todo if item.kind == "attack"]
    for data, split in sorted(_sets(trainings, attacks)):
        load(data, split, data_dir=data_dir, limit=_LOOK, download=download)
    for item in _distinct(trainings, lambda name: name not in _IRRELEVANT):
        _require_training(item.settings, out)
    for item in [] if force else trainings:
        _require_free(item, out)
    known = plan.grid.trains and not any("data" in axis.of("train") for axis in plan.grid.axes)
    trained = str(plan.grid.train.get("data", TrainConfig.data)) if known else None
    for item in _distinct(attacks, lambda name: name in _OF_ENTRIES):
        tagged = {**item.settings, "tag": item.task.payload["tags"]}
        _require_attack(tagged, item.settings.get("data", trained))
    for item in _distinct([item for item in todo if item.kind == "certify"], lambda _: True):
        settings = dict(item.settings)
        require_certifiable(settings, settings.pop("method", METHOD))
    known_models(plan.grid.models, Store(out))


_IRRELEVANT = {"seed", "epochs", "lr", "limit", "weight_decay", "data"}
"""Settings that decide nothing here, each checked by its type alone, or looked at elsewhere."""
_OF_ENTRIES = ("attack", "threat", "target", "audit", "audit_attack", "adaptive", "data")


def _distinct(items: Sequence[Item], matters: Callable[[str], bool]) -> list[Item]:
    """The first task of each choice of the settings that matter."""
    found: dict[str, Item] = {}
    for item in items:
        chosen = {name: value for name, value in item.settings.items() if matters(name)}
        found.setdefault(canonical_json(chosen), item)
    return list(found.values())


def _sets(trainings: Sequence[Item], attacks: Sequence[Item]) -> set[tuple[str, str]]:
    """The data sets that tasks name, each with its split."""
    named = [item.settings for item in trainings]
    real = {(str(settings.get("data", TrainConfig.data)), "train") for settings in named}
    made = {(str(given), "train") for settings in named if (given := settings.get("generated"))}
    return (
        real
        | made
        | {
            (str(item.settings["data"]), str(item.settings.get("split", AttackConfig.split)))
            for item in attacks
            if "data" in item.settings
        }
    )


def _require_different(plan: SweepPlan) -> None:
    """Raise UserError for two values of an axis that are one spec, such as its default spelled."""
    for axis in plan.grid.axes:
        canonical = _CANONICAL.get(axis.homes[0].name)
        if canonical is None:
            continue
        seen: dict[str, str] = {}
        for value in axis.values[0]:
            text = value_text(value)
            if text == "none" or (isinstance(value, list) and len(value) != 1):
                continue
            spec = value[0] if isinstance(value, list) else value
            if spec.endswith(".toml") or spec in cascades():
                continue
            same = seen.setdefault(canonical(spec), text)
            if same is not text:
                raise UserError(
                    f"{axis.key}: {same} and {text} are the same; leave one of them out"
                )


def _require_training(settings: Mapping[str, Any], out: Path) -> None:
    config = settings_with_recipe(settings, out)
    require_architecture(config.model, Store(out))
    canonical_model(config.model)
    loss = LOSSES.build(config.loss)
    threat = single_threat(known_threat(config.threat or default_threat(config.data), config.data))
    if (inner := inner_spec(config, loss)) is not None:
        build_inner(inner, config, loss, threat)
    require_fit(loss, config)
    require_teacher(config, loss, Store(out))


def _require_attack(settings: Mapping[str, Any], data: str | None) -> None:
    """Build the attacks of some settings under their threat models, or the usual one of the data.

    Without either the model may have one of its own, which its task sees.
    """
    config = validate(AttackConfig, settings, "attack")
    usual = None if data is None else default_threat(data)
    for threats in parse_threats(config.threat or ([usual] if usual else []), config.target):
        if threats[0].corruption:
            without_attacks(config, threats[0])
            continue
        build_entries(config.attack or USUAL_ATTACK, threats)
        if config.audit_attack:
            build_entries(config.audit_attack, threats)


def _require_free(item: Item, out: Path) -> None:
    """Raise UserError where the model's name is taken by one of other settings."""
    folder = Store(out).models / item.model
    found = stored_config(folder)
    if found is None or found["status"] != "done":
        return
    config = settings_with_recipe(item.settings, out)
    before = found["config"]
    idle = () if config.generated else ("generated_ratio",)
    other = (*SPECS, "threat", "teacher", *idle)
    plain = [name for name in option_names(TrainConfig) if name not in other]
    known = {name: before.get(name, getattr(TrainConfig, name)) for name in plain}
    if changed := [name for name in plain if known[name] != getattr(config, name)]:
        raise UserError(
            f"{folder} holds a model of other settings (different: {', '.join(changed)}): give the "
            "sweep's models a --prefix, or --force to train it again"
        )
