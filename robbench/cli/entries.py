"""What a name means: the entries of `robbench explain`."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robbench.catalogue.cascades import cascades
from robbench.catalogue.recipes import read_recipe, recipes
from robbench.cli.commands import command_entry, commands
from robbench.cli.words import corruption_entries, flag_entries, phrase_entries, word_entries
from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError, unknown
from robbench.guide import TOPICS, Page, read_page

if TYPE_CHECKING:
    from robbench.checks.base import Check
    from robbench.core.registry import Registry

Entry = dict[str, Any]
_LISTS = "robbench list shows names, robbench explain topics"


def entries_of(name: str, data_dir: Path | None = None) -> list[Entry]:
    """What a name means, as `--json` shows it; several entries where several registries have it.

    `data_dir` holds data sets of one's own. Raises UserError with the nearest names of all kinds.
    """
    from robbench.core.config import COMMANDS
    from robbench.data.data_folder import data_folder, private_sets

    own = private_sets(data_folder(data_dir))
    if name in TOPICS:
        return [_page_entry(read_page(name))]
    if name in cascades():
        return [{"kind": "cascade", "name": name, **cascades()[name]}]
    if name in COMMANDS:
        return [_settings_entry(name)]
    if name in commands():
        words = word_entries(name, defined=True)
        return [command_entry(name), *_registered(name, own), *words]
    if name in recipes():
        return [{"kind": "recipe", "name": name, "doc": recipes()[name], **read_recipe(name)}]
    if found := _registered(name, own):
        return found

    from robbench.checks.registry import CHECKS  # loads torch
    from robbench.engine.advice import TEXTS

    checks = [_check_entry(check) for check in CHECKS if name == check.name]
    if found := [*checks, *flag_entries(name)] or phrase_entries(name):
        return found
    raise unknown("name", name, {*_known(), *own, *TEXTS, *(c.name for c in CHECKS)}, _LISTS)


def _known() -> list[str]:
    """Every name of robbench itself that `explain` knows, but for the checks'."""
    from robbench.catalogue.builtins import REGISTRIES

    registered = [name for registry in REGISTRIES.values() for name in registry.entries]
    return [*TOPICS, *commands(), *recipes(), *cascades(), *registered]


def _registered(name: str, own: Collection[str]) -> list[Entry]:
    """A registered name's entries, or those of a `module:attribute` or a data folder's set."""
    from robbench.catalogue.builtins import REGISTRIES

    if is_corruption(name):
        return corruption_entries(name)
    kinds = [kind for kind, registry in REGISTRIES.items() if name in registry.entries]
    if not kinds and ":" in name:
        kinds = [kind for kind, registry in REGISTRIES.items() if _fits(registry, name)]
    if not kinds and name in own:
        spec = f"parquet:{name}"
        return [_registered_entry("data", spec) | {"name": name, "same_as": spec}]
    return [_registered_entry(kind, name) for kind in kinds]


def _fits(registry: Registry[Any], name: str) -> bool:
    try:
        registry.parse(name)
    except UserError:
        return False
    return True


def _registered_entry(kind: str, name: str) -> Entry:
    from robbench.catalogue.builtins import REGISTRIES
    from robbench.core.options import explain_options

    cls, spec = REGISTRIES[kind].parse(name)
    entry = REGISTRIES[kind].entries.get(name)
    return {
        "kind": kind,
        "name": name,
        "doc": inspect.getdoc(cls) or "",
        "same_as": str(spec) if str(spec) != name else None,
        "source": f"{cls.__module__}.{cls.__qualname__}",
        "package": entry.package if entry else None,
        "options": [vars(option) for option in explain_options(cls)],
        "file": inspect.getsourcefile(cls),
        **(_needs_of(name) if kind == "losses" else {}),
        **(_facts_of(name) if kind == "attacks" else {}),
    }


def _facts_of(attack: str) -> Entry:
    """Norms, goal and access of an attack; nothing where an option without default decides."""
    from robbench.attacks.base import what_is_missing
    from robbench.catalogue.builtins import ATTACKS
    from robbench.core.norms import NORMS

    try:
        built = ATTACKS.build(attack)
        if what_is_missing(built):
            return {}
        norms = [norm for norm in NORMS if norm in built.norms]
        return {"norms": norms, "goal": built.goal, "access": built.access}
    except UserError:
        return {}


def _needs_of(name: str) -> Entry:
    """The inner attack that a loss brings, with all its options and what it climbs; its teacher.

    None each where an option without default decides.
    """
    from robbench.catalogue.builtins import ATTACKS, LOSSES
    from robbench.core.spec import parse_spec

    try:
        loss = LOSSES.build(name)
    except UserError:
        return {"inner": None, "teacher": None}
    inner = None
    if loss.inner is not None:
        climbs = {} if loss.climbs is None else {"objective": loss.climbs}
        options = {**parse_spec(ATTACKS.canonical(loss.inner, full=True)).options, **climbs}
        inner = {"spec": loss.inner, "climbs": loss.climbs, "options": options}
    return {"inner": inner, "teacher": loss.teacher}


def _settings_entry(command: str) -> Entry:
    from robbench.core.options import explain_options
    from robbench.tasks.attack.config import AttackConfig
    from robbench.tasks.train.config import TrainConfig

    config = TrainConfig if command == "train" else AttackConfig
    return {
        "kind": "settings",
        "name": command,
        "doc": f"{commands()[command]}\n\nSettings of robbench {command}, by --set KEY=VALUE, "
        "ROBBENCH_KEY or a file; the common ones are flags too.",
        "same_as": None,
        "source": config.__module__,
        "package": "robbench",
        "options": [vars(option) for option in explain_options(config)],
    }


def _check_entry(check: Check) -> Entry:
    return {
        "kind": "check",
        "name": check.name,
        "doc": inspect.getdoc(check.ask) or "",
        "severity": check.severity,
        "cost": check.cost,
        "literature": check.source,
        "source": f"{check.ask.__module__}.{check.ask.__qualname__}",
    }


def _page_entry(page: Page) -> Entry:
    return {"kind": "topic", "name": page.topic, "title": page.title, "text": page.text}
