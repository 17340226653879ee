"""What `robbench attack` is asked to do, resolved: which models, budgets and attacks, and which runs that gives.

A plan is one model under one norm: a run for each of its budgets, decided together (`engine/cascade.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from robbench.attacks.base import Backend
from robbench.attacks.eot import Wrapper
from robbench.core.builtins import ATTACKS
from robbench.core.cascades import cascades, expand
from robbench.core.config import AttackConfig
from robbench.core.device import default_batch_size, find_device
from robbench.core.errors import UserError, unknown
from robbench.core.spec import short_hash
from robbench.data.load import default_threat
from robbench.engine.cascade import Entry
from robbench.results.answers import settled
from robbench.results.places import Place, beside
from robbench.results.schema import SCHEMA_VERSION
from robbench.results.store import Store
from robbench.runs.codes import data_code, model_code
from robbench.runs.subject import Subject, find_subject
from robbench.runs.train_plan import known_threat
from robbench.threat.model import ThreatModel, parse_threat, require_inside


@dataclasses.dataclass(frozen=True)
class Plan:
    """Runs decided together: a model, a norm with one or several budgets (ascending), and a cascade.

    `identities`: of each budget, the hash of what is known to decide its verdicts; `run_ids`: the same, unless a run under that
    hash was of a model with other answers. `notes` say so.
    """

    subject: Subject
    threats: tuple[ThreatModel, ...]
    entries: tuple[Entry, ...]
    config: AttackConfig
    data: str
    device: torch.device
    replay: tuple[Place, ...]
    identities: tuple[str, ...]
    run_ids: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def attack(self) -> str:
        """The cascade as it was asked for."""
        return " + ".join(dict.fromkeys(_asked(spec) for spec in self.config.attack))

    @property
    def threat(self) -> str:
        """The budgets in one text, `linf:2/255,8/255`."""
        return f"{self.threats[0].norm}:{','.join(threat.text.partition(':')[2] for threat in self.threats)}"

    @property
    def width(self) -> int:
        """Samples in flight."""
        return self.config.batch_size or default_batch_size(self.device)


def _with_points(paths: Sequence[Place]) -> Sequence[Place]:
    """Of several runs that a name means those that kept points; all, for the error, where none did."""
    return [path for path in paths if beside(path, "points").exists()] or paths


def plan_attacks(models: Sequence[str], config: AttackConfig, *, out: Path, device: str, data_dir: Path | None,
                 download: bool) -> Iterator[Plan]:  # fmt: skip
    """One plan per model and norm. Raises UserError for anything that cannot work, before anything is written."""
    where, store = find_device(device), Store(out)
    given = parse_threats(config.threat)
    if config.precision != "fp32" and any(math.isinf(threats[-1].eps) for threats in given):
        raise UserError(f"--precision {config.precision} needs a budget: the nearest points lie where rounding decides")
    replay = tuple(path for name in config.replay for path in _with_points(store.find([name])))
    config = dataclasses.replace(config, store_points=config.store_points or config.measure)
    for text in models:
        subject, data = find_subject(text, config, store, where, data_dir, download)
        sources: dict[str, str] = {}

        def find(name: str, sources: dict[str, str] = sources, data: str = data) -> nn.Module:
            other = dataclasses.replace(config, data=data)
            source = find_subject(name, other, store, where, data_dir, download)[0]
            sources[name] = source.hash
            return source.model

        for threats in given or parse_threats([_usual_threat(data, subject)]):
            require_inside(threats, subject.split.images.shape[1:])
            entries = build_entries(config.attack, threats)
            entries = tuple(Entry(spec, attack.equip(find)) for spec, attack in entries)
            codes = [ATTACKS.code(spec) for entry in entries for spec in _with_inner(entry)]
            identity = {
                "model": [subject.label, subject.hash, subject.arch, subject.trained.get("head", "linear")],
                "samples": subject.split.fingerprint(ordered=True), "norm": threats[0].norm,
                "attack": full_specs(entries), "seed": config.seed, "schema": SCHEMA_VERSION,
                "code": [model_code(subject.arch), data_code(data), *codes],
                # Another package's attack may judge a sample by its batch.
                "width": config.batch_size or default_batch_size(where) if has_backend(entries) else None,
                "search": [config.precision, config.compile, str(config.budget)],
                "replay": sorted(path.stem for path in replay), "sources": sources, "points": config.store_points,
            }  # fmt: skip
            # What breaks a sample at a smaller budget counts at a larger one.
            # Stored points are chosen for the largest one, and a budget of time is shared by all.
            coupled = bool(replay) or (config.budget is not None and math.isfinite(config.budget.seconds))
            every = [str(threat.eps) for threat in threats]
            ids = [
                short_hash({**identity, "eps": every[: n + 1], **({"among": every} if coupled else {})})
                for n in range(len(every))
            ]
            found, others = zip(*(settled(store, run_id, subject.answers) for run_id in ids), strict=True)
            notes = [other_answers(other) for other in dict.fromkeys(others) if other]
            yield Plan(subject, tuple(threats), entries, config, data, where, replay, tuple(ids), found, tuple(notes))


def other_answers(run_id: str) -> str:
    """What to say of a run that differs from another one in the model's answers only."""
    return (
        f"the model's answers have changed since run {run_id}, though its code, weights and settings have not (does it read "
        "other files?): this is another run"
    )


def parse_threats(texts: Sequence[str]) -> list[list[ThreatModel]]:
    """The threat models of some texts, by norm in the order of mention, each norm's budgets ascending. UserError for a repeat."""
    found: dict[str, list[ThreatModel]] = {}
    for threat in (threat for text in texts for threat in parse_threat(text)):
        same = found.setdefault(threat.norm, [])
        if threat.eps in [other.eps for other in same]:
            raise UserError(f"threat {threat.text} is given twice: leave one out")
        same.append(threat)
    for threats in found.values():
        threats.sort(key=lambda threat: threat.eps)
        if len(threats) > 1 and math.isinf(threats[-1].eps):
            raise UserError(f"threat {threats[-1].text} has no budget, it gives every other one too: run it alone")
    return list(found.values())


def build_entries(specs: Sequence[str], threats: Sequence[ThreatModel]) -> tuple[Entry, ...]:
    """The cascade of some attack specs and cascade names, in their order, for budgets of one norm.

    UserError for an attack that is unknown, malformed, given twice, or cannot work in this norm or without a budget.
    """
    norm, endless = threats[-1].norm, math.isinf(threats[-1].eps)
    if not specs:
        raise UserError("no attack given; leave --attack out for apgd, or name one such as autoattack")
    entries: dict[str, Entry] = {}
    named: set[str] = set()  # by themselves, not by a cascade
    for text in specs:
        parts = expand(text, norm)
        if parts == (text,) and ":" not in text and text not in ATTACKS.entries:
            raise unknown("attack", text, [*ATTACKS.entries, *cascades()])
        for part in parts:
            spec, attack = ATTACKS.canonical(part), ATTACKS.build(part)
            if parts == (text,):
                if spec in named:
                    raise UserError(f"attack {text} is given twice; use restarts=N for more random starts")
                named.add(spec)
            if norm not in attack.norms:
                raise UserError(f"attack {spec} does not work in {norm}; it knows {', '.join(sorted(attack.norms))}")
            if endless and attack.seeks == "any":
                raise UserError(
                    f"attack {spec} needs a budget such as {norm}:0.1; without one use fmn, or minimal:attack=({part})"
                )
            entries.setdefault(spec, Entry(spec, attack))
    return tuple(entries.values())


def full_specs(entries: Sequence[Entry]) -> list[str]:
    """The cascade with every option spelled out: what a run's identity rests on."""
    return [ATTACKS.canonical(entry.spec, full=True) for entry in entries]


def _asked(text: str) -> str:
    name = text.partition(":")[0]
    return ATTACKS.canonical(text) if name in ATTACKS.entries or expand(text, "linf") == (text,) else text


def _with_inner(entry: Entry) -> list[str]:
    """The entry's spec, and that of the attack it runs inside itself."""
    return [entry.spec, *([entry.attack.attack] if isinstance(entry.attack, Wrapper) else [])]


def has_backend(entries: Sequence[Entry]) -> bool:
    """Whether another package's attack is among them."""
    return any(isinstance(entry.attack, Backend) for entry in entries)


def _usual_threat(data: str, subject: Subject) -> str:
    """The data set's own threat model, else the one the model was trained under."""
    return known_threat(default_threat(data) or subject.trained.get("config", {}).get("threat"), data)
