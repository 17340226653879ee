"""The sections about where the numbers come from: provenance, and how to get them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.commands import Command, attack_command, shared_settings
from robbench.analysis.series import model_names, name_of
from robbench.reports import texts
from robbench.reports.html.captions import (
    DIGESTS,
    NO_ATTACK_COMMAND,
    NO_COMMAND,
    VERIFY_CODE,
    VERIFY_TABLES,
)
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Commands, Facts, Head, Notes, Section, Table

_RECORDED = {
    "run_id": "run",
    "started_at": "started (UTC)",
    "robbench_version": "robbench",
    "git_sha": "git commit of the working folder",
    "git_dirty": "uncommitted changes",
    "python_version": "Python",
    "torch_version": "torch",
    "device": "device",
    "device_name": "device name",
    "deterministic": "bit-equal at any batch size",
    "precision": "precision of the search",
    "max_time_s": "time limit (s)",
    "max_queries": "forwards per sample at most, without re-checks",
    "batch_size": "batch size",
    "seed": "seed",
    "train_seed": "seed of training",
    "model_arch": "architecture",
    "model_hash": "hash of the model",
    "loss": "loss",
    "data": "data",
    "split": "split",
    "subset": "subset",
    "data_hash": "hash of the samples",
    "n_samples": "samples",
    "threat": "threat model",
    "attack": "attack",
    "ci_method": "interval",
}


def provenance(material: ReportData) -> Section:
    """What all runs share, and a table of where they differ."""
    values = {key: [_value(run.info[key]) for run in material.runs] for key in _RECORDED}
    facts = json.loads(material.runs[0].info["provenance"] or "{}")
    known = {key: found for key, found in values.items() if any(found)}
    same = [(_RECORDED[key], found[0]) for key, found in known.items() if len(set(found)) == 1]
    packages = ", ".join(
        f"{name} {version}" for name, version in facts.get("packages", {}).items() if version
    )
    same += [("packages (first run)", packages)] if packages else []
    same += [("platform (first run)", facts["platform"])] if facts.get("platform") else []
    differ = [key for key, found in known.items() if len(set(found)) > 1]
    names = model_names(material.runs)
    heads = [Head("model", number=False), *(Head(_RECORDED[key], number=False) for key in differ)]
    rows = [
        [Cell(name_of(run, names)), *(_short(values[key][i]) for key in differ)]
        for i, run in enumerate(material.runs)
    ]
    blocks: list[Any] = [Facts(same)]
    blocks += [Table("Where runs differ", heads, rows)] if differ else []
    blocks += [*_code(material), *_digests(material)]
    return Section("provenance", "Provenance", blocks)


def _code(material: ReportData) -> list[Any]:
    """Versions of the code that the models were trained with."""
    found = {name: done.code for name, done in material.trainings.items() if done.code}
    parts = list(dict.fromkeys(part for code in found.values() for part in code))
    if not parts:
        return []
    heads = [Head("model", number=False), *(Head(part, number=False) for part in parts)]
    rows = [
        [Cell(name), *(Cell(code.get(part) or texts.NOTHING) for part in parts)]
        for name, code in found.items()
    ]
    return [Table("Code that the models were trained with", heads, rows), Notes([VERIFY_CODE])]


def _digests(material: ReportData) -> list[Any]:
    if not material.digests:
        return []
    lines = [f"{digest}  {path}" for path, digest in material.digests.items()]
    return [Commands(DIGESTS, lines, folded=True), Notes([VERIFY_TABLES])]


def reproduce(material: ReportData) -> Section:
    """The commands that gave the models, the runs and this page."""
    trained = [
        command
        for done in material.trainings.values()
        for command in (*done.starts, done.command)
        if command
    ]
    commands = {run.info["run_id"]: attack_command(run.info) for run in material.runs}
    attacks = [command for command in commands.values() if command]
    known = shared_settings([*trained, *attacks])
    versions = dict.fromkeys(run.info["robbench_version"] for run in material.runs)
    blocks: list[Any] = [
        Commands(
            f"Install robbench {', '.join(versions)}, in a checkout of that version",
            ["pip install ."],
        )
    ]
    if known:
        blocks.append(
            Commands(
                "Settings", [f"export {name}={shlex.quote(value)}" for name, value in known.items()]
            )
        )
    if trained:
        blocks.append(Commands("Train", _lines(trained, known)))
    if lost := [name for name, done in material.trainings.items() if not done.command]:
        blocks.append(Notes([NO_COMMAND.format(models=", ".join(lost))]))
    if attacks:
        blocks.append(Commands("Attack", _lines(attacks, known)))
    if lost := [f"run {run_id}" for run_id, command in commands.items() if not command]:
        blocks.append(Notes([NO_ATTACK_COMMAND.format(runs=", ".join(lost))]))
    blocks += [Commands("This page", [material.command])] if material.command else []
    return Section("reproduce", "How to reproduce", blocks)


def _lines(commands: Sequence[Command], known: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(command.without(known) for command in commands))


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.strftime("%Y-%m-%d %H:%M:%S") if hasattr(value, "strftime") else str(value)


def _short(value: str) -> Cell:
    """A cell that keeps a hash or a time on one line."""
    return Cell(value or texts.NOTHING, mark="fixed" if len(value) < 24 else "")
