"""Names become objects: the models, threat models and attacks of an attack, and its runs.

A plan is one model under one norm: a run for each of its budgets, decided together
(`engine/cascade.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from robbench.attacks.base import AttackEntry
from robbench.core.access import access_of
from robbench.core.device import default_batch_size, find_device
from robbench.core.errors import UserError
from robbench.core.part import WHOLE, Part
from robbench.core.threat_text import split_threat
from robbench.store.address.copies import bring_runs
from robbench.store.locations import Location, sibling_table, trained_name
from robbench.store.run import attacked_model
from robbench.store.settled import settled
from robbench.store.store import Store
from robbench.tasks.attack.access import require_access
from robbench.tasks.attack.audit import Audit, plan_audit
from robbench.tasks.attack.config import USUAL_ATTACK, AttackConfig
from robbench.tasks.attack.corruption import require_no_fixed, without_attacks
from robbench.tasks.attack.entries import build_entries, canonical_entry
from robbench.tasks.attack.identity import changed_answers, run_hashes
from robbench.tasks.attack.target import aimed
from robbench.tasks.attack.threats import parse_threats, usual_threat
from robbench.tasks.model_names import find_folder, known_models
from robbench.tasks.subject import Subject, find_subject
from robbench.tasks.train.plan import known_threat
from robbench.threat.model import ThreatModel, classes_in_play, require_inside


@dataclasses.dataclass(frozen=True)
class AttackPlan:
    """Runs decided together: a model, a norm with its budgets (ascending), a cascade, an audit.

    Or one corruption at one severity, without attacks.

    `identities`: for each budget, the hash of what is known to decide its verdicts. `run_ids`: the
    same, unless the run of that hash was of a model with other answers; `notes` say so. `part`: of
    the samples, those that this process decides; whoever finds all decided writes the runs.
    """

    subject: Subject
    threats: tuple[ThreatModel, ...]
    entries: tuple[AttackEntry, ...]
    config: AttackConfig
    data: str
    device: torch.device
    replay: tuple[Location, ...]
    identities: tuple[str, ...]
    run_ids: tuple[str, ...]
    notes: tuple[str, ...] = ()
    audit: Audit | None = None
    part: Part = WHOLE

    @property
    def all_entries(self) -> tuple[AttackEntry, ...]:
        """The attacks of the cascade, then those of the audit."""
        return self.entries if self.audit is None else (*self.entries, *self.audit.entries)

    def of_audit(self, eps_index: int) -> AttackPlan:
        """What the audit does at one of the budgets, as a plan of its own."""
        assert self.audit is not None
        return dataclasses.replace(
            self,
            threats=(self.threats[eps_index],),
            entries=self.audit.entries,
            identities=(self.identities[eps_index],),
            run_ids=(self.run_ids[eps_index],),
            replay=(),
            audit=None,
        )

    @property
    def breakers(self) -> tuple[str, ...]:
        """What may break a sample, by its position: the attacks, or the corruption."""
        if self.threats[0].corruption:
            return (self.threats[0].text,)
        return tuple(entry.spec for entry in self.entries)

    @property
    def label(self) -> str:
        """The model's name in results."""
        return self.config.name or self.subject.label

    @property
    def title(self) -> str:
        """The model and the budgets, for messages, and which part of several."""
        part = f", part {self.part}" if self.part.count > 1 else ""
        return f"{self.config.name or self.subject.name} {self.threat}{part}"

    @property
    def attack(self) -> str:
        """The cascade as it was asked for; `none` under a corruption."""
        if self.threats[0].corruption:
            return "none"
        return " + ".join(dict.fromkeys(canonical_entry(spec) for spec in self.config.attack))

    @property
    def threat(self) -> str:
        """The budgets in one text, `linf:2/255,8/255`, with the target if there is one."""
        parts = [split_threat(threat.text) for threat in self.threats]
        return str(parts[0]._replace(budget=",".join(part.budget for part in parts)))

    @property
    def classes_in_play(self) -> int:
        """The classes an attack chooses among."""
        return classes_in_play(self.subject.width, self.threats[0])

    @property
    def width(self) -> int:
        """Samples in flight."""
        return self.config.batch_size or default_batch_size(self.device)


def _with_points(paths: Sequence[Location]) -> Sequence[Location]:
    """Of the runs of a name those with points; all where none has any, for the error."""
    bring_runs(paths, points=True)
    return [path for path in paths if sibling_table(path, "points").exists()] or paths


def plan_attacks(
    models: Sequence[str],
    config: AttackConfig,
    *,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    part: Part = WHOLE,
) -> Iterator[AttackPlan]:
    """One plan per model and norm; raises UserError for anything that cannot work.

    Nothing is written. part: of the samples of each plan. `config.threat` may be empty: then a data
    set's own threat model counts.
    """
    if part.count > 1 and config.max_time is not None:
        raise UserError(
            f"--max-time is the time of a whole run, not of part {part}: leave it out, or limit "
            "each sample with --max-queries"
        )
    where, store = find_device(device), Store(out)
    given = parse_threats(config.threat, config.target)
    if config.precision != "fp32" and any(math.isinf(threats[-1].eps) for threats in given):
        raise UserError(
            f"--precision {config.precision} needs a budget: the nearest points are where rounding "
            "decides"
        )
    replay = [path for name in config.replay for path in _with_points(store.find([name]))]
    chosen = known_models(models, store)
    if config.name and len(chosen) > 1:
        raise UserError(
            f"--name {config.name} is for one model, not for {len(chosen)}: {', '.join(chosen)}"
        )
    for text in chosen:
        subject, data = find_subject(text, config, store, where, data_dir, download)
        if config.name:
            _require_own_name(config.name, text, subject, store)
        other = dataclasses.replace(config, data=data)

        def find(name: str, other: AttackConfig = other) -> Subject:
            return find_subject(name, other, store, where, data_dir, download)[0]

        usual = known_threat(usual_threat(data, subject), data) if not given else ""
        for threats in given or parse_threats([usual], config.target):
            plan = plan_subject(
                subject,
                threats,
                config,
                data=data,
                store=store,
                device=where,
                find=find,
                replay=replay,
            )
            _require_samples(plan, part)
            yield dataclasses.replace(plan, part=part)


def _require_samples(plan: AttackPlan, part: Part) -> None:
    """Raise UserError for more parts than samples."""
    if part.count > (size := len(plan.subject.split)):
        raise UserError(f"part {part} of {size} samples: make at most {size} parts")


def _require_own_name(name: str, model: str, subject: Subject, store: Store) -> None:
    """Raise UserError where a display name belongs to another model; a moved file is the same."""
    folder, _ = find_folder(model, store)
    own = model if folder is None else Path(model).name
    others = {
        attacked_model(info)
        for info in store.rows(("model", "model_source", "model_hash"))
        if info["model"] == name
        and attacked_model(info) != own
        and info["model_hash"] != subject.hash
    }
    if trained_name(name) != trained_name(own) and (store.models / trained_name(name)).is_dir():
        others.add(f"a trained model, {store.models / trained_name(name)}")
    if others:
        raise UserError(f"--name {name} belongs to another model ({min(others)}): choose another")


def plan_subject(
    subject: Subject,
    threats: Sequence[ThreatModel],
    config: AttackConfig,
    *,
    data: str,
    store: Store | None,
    device: torch.device,
    find: Callable[[str], Subject],
    replay: Sequence[Location] = (),
) -> AttackPlan:
    """The plan for one model and the budgets of one norm (ascending).

    data: the name its data set goes by in results. store: where its runs may be already. find:
    gives the models that attacks transfer from, by name. replay: runs whose points are tried first.
    Raises UserError as `plan_attacks` does.
    """
    require_inside(threats, subject.split.images.shape[1:])
    subject, threats = aimed(subject, threats, config.seed)
    if threats[0].corruption:
        require_no_fixed(threats[0], subject.split)
        config = without_attacks(config, threats[0])
    elif not config.attack:
        config = dataclasses.replace(config, attack=USUAL_ATTACK)
    config = dataclasses.replace(config, store_points=config.store_points or config.measure)
    sources: dict[str, str] = {}

    def find_model(name: str) -> nn.Module:
        source = find(name)
        sources[name] = source.hash
        return source.model

    def equipped(entries: Sequence[AttackEntry]) -> tuple[AttackEntry, ...]:
        return tuple(AttackEntry(spec, attack.equip(find_model)) for spec, attack in entries)

    entries = equipped(build_entries(config.attack, threats)) if config.attack else ()
    require_access(subject.name, access_of(subject.model), entries, threats)
    audit = plan_audit(config, threats, entries, subject.width)
    if audit is not None:
        audit = dataclasses.replace(audit, entries=equipped(audit.entries))
        require_access(subject.name, access_of(subject.model), audit.entries, threats)
    hashes = run_hashes(
        subject,
        threats,
        entries,
        config,
        width=config.batch_size or default_batch_size(device),
        replay=[path.stem for path in replay],
        sources=sources,
        audit=audit,
    )
    run_ids, others = zip(
        *(settled(store, found, subject.answers) if store else (found, None) for found in hashes),
        strict=True,
    )
    return AttackPlan(
        subject=subject,
        threats=tuple(threats),
        entries=entries,
        config=config,
        data=data,
        device=device,
        replay=tuple(replay),
        identities=tuple(hashes),
        run_ids=run_ids,
        notes=tuple(changed_answers(other) for other in dict.fromkeys(others) if other),
        audit=audit,
    )
