"""The command lines behind models and runs, as they were recorded."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.analysis.budgets import curve
from robbench.core.trust import own_code
from robbench.store.hints import command
from robbench.store.run import attacked_model, from_memory, tags_of

_MOST_IDS = 4  # in a suggested command


class Command(NamedTuple):
    """A command line, and the ROBBENCH_* variables it was started with."""

    line: str
    settings: Mapping[str, str] = {}

    def without(self, known: Mapping[str, str]) -> str:
        """The line after those of its settings that are not known."""
        own = [
            f"{name}={shlex.quote(value)}"
            for name, value in self.settings.items()
            if known.get(name) != value
        ]
        return " ".join([*own, self.line])


def recorded_command(facts: Mapping[str, Any]) -> Command | None:
    """The robbench command of a provenance record; None if another program was at work."""
    words: Sequence[str] = facts.get("argv") or ()
    if not words or (
        Path(words[0]).stem != "robbench" and not words[0].endswith("robbench/__main__.py")
    ):
        return None
    settings = {
        name: str(value)
        for name, value in (facts.get("env") or {}).items()
        if name.startswith("ROBBENCH_")
    }
    return Command(shlex.join(["robbench", *_of_the_whole(words[1:])]), settings)


def _of_the_whole(words: Sequence[str]) -> Iterator[str]:
    """The words of a command without `--shard`: one of its parts does not give the run."""
    before = ""
    for word in words:
        if before != "--shard" and word.partition("=")[0] != "--shard":
            yield word
        before = word


def attack_command(info: Mapping[str, Any]) -> Command | None:
    """The command that gives a run: the recorded one, else one made from its runs row.

    None where there is none: model, data or an attack were given in a program, or a gate has
    attacked samples until it had decided.
    """
    if command := recorded_command(json.loads(info["provenance"] or "{}")):
        return command
    settings = _settings(info)
    specs = [*settings["attack"], *settings["audit_attack"]]
    in_program = from_memory(info) or any("__main__" in spec for spec in specs)
    if in_program or info["data"] == "memory" or "gate" in settings:
        return None
    words = ["robbench", "attack", attacked_model(info)]
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for text in map(str, value if isinstance(value, list) else [value]):
                words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return Command(shlex.join([*words, *_trust(_specs(info))]))


def _settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run by the names of their options, those that it records all included.

    A row of an older robbench records fewer.
    """
    given = json.loads(info.get("config") or "{}")
    attacks = [] if info["attack"] == "none" else info["attack"].split(" + ")
    audits = (info.get("audit_attack") or "").split(" + ") if given.get("audit") else []
    usual = {"limit": info["subset"], "max_queries": info.get("max_queries")}
    first = {
        "attack": given.get("attack") or attacks,
        "audit": given.get("audit"),
        "adaptive": given.get("adaptive"),
        "audit_attack": given.get("audit_attack") or audits,
        "threat": [str(threat) for threat in curve(info)] or info["threat"],
        "target": given.get("target"),
        "data": info["data"],
        "split": info["split"],
        "seed": info["seed"],
        "name": None if info["model"] == attacked_model(info) else info["model"],
        "tag": tags_of(info),
    }
    rest = {name: value for name, value in given.items() if name not in first}
    if rest.get("precision") == "fp32":
        del rest["precision"]
    return {**first, **usual, **rest}


def about_runs(verb: str, infos: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    """`robbench VERB` for runs that are in the output folder `out`, None where none is known.

    Many runs are named by their models. With `--trust-code` where the model, the data or an attack
    of a run is private code.
    """
    column = "run_id" if len(infos) <= _MOST_IDS else "model"
    names = dict.fromkeys(str(info[column]) for info in infos)
    specs = [spec for info in infos for spec in _specs(info)]
    return command(verb, *names, *_trust(specs), out=out)


def _trust(specs: Sequence[str]) -> list[str]:
    return ["--trust-code"] if own_code(specs) else []


def _specs(info: Mapping[str, Any]) -> list[str]:
    attacks = json.loads(info["attack_params"])
    return [attacked_model(info), info["model_arch"] or "", info["data"], *attacks]


def shared_settings(commands: Sequence[Command]) -> dict[str, str]:
    """The variables that all commands were started with, with the same values."""
    first = commands[0].settings if commands else {}
    return {
        name: value
        for name, value in first.items()
        if all(one.settings.get(name) == value for one in commands)
    }
