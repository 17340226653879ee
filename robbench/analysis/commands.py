"""The command lines behind models and runs, as they were recorded."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.trust import own_code
from robbench.store.hints import command
from robbench.store.run import attacked_model, tags_of

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


def attack_command(info: Mapping[str, Any]) -> Command:
    """The command that gives a run: the recorded one, else one made from its runs row."""
    if command := recorded_command(json.loads(info["provenance"] or "{}")):
        return command
    words = ["robbench", "attack", attacked_model(info)]
    words += [word for spec in info["attack"].split(" + ") for word in ("--attack", spec)]
    if info.get("audit_attack"):
        asked = json.loads(info["config"])
        words += ["--audit", str(asked["audit"]), *["--adaptive"] * asked["adaptive"]]
        for spec in info["audit_attack"].split(" + "):
            words += ["--audit-attack", spec]
    words += [
        "--threat",
        info["threat"],
        "--data",
        info["data"],
        "--split",
        info["split"],
        "--seed",
        str(info["seed"]),
    ]
    if info["model"] != attacked_model(info):
        words += ["--name", info["model"]]
    words += [word for tag in tags_of(info) for word in ("--tag", tag)]
    if info["subset"]:
        words += ["--limit", info["subset"].partition("=")[2]]
    return Command(shlex.join(words))


def about_runs(verb: str, infos: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    """`robbench VERB` for runs that are in the output folder `out`, None where none is known.

    Many runs are named by their models. With `--trust-code` where the model, the data or an attack
    of a run is private code.
    """
    column = "run_id" if len(infos) <= _MOST_IDS else "model"
    names = dict.fromkeys(str(info[column]) for info in infos)
    specs = [spec for info in infos for spec in _specs(info)]
    trusted = ["--trust-code"] if own_code(specs) else []
    return command(verb, *names, *trusted, out=out)


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
