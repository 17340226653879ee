"""Run ids: a hash of everything that decides a run's verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robbench.attacks.base import AttackEntry, Backend
from robbench.attacks.eot import Wrapper
from robbench.catalogue.builtins import ATTACKS
from robbench.core.corruptions import EDITION
from robbench.core.spec import short_hash
from robbench.store.schema import SCHEMA_VERSION
from robbench.tasks.attack.audit import Audit
from robbench.tasks.attack.config import AttackConfig
from robbench.threat.model import ThreatModel

if TYPE_CHECKING:
    from robbench.tasks.subject import Subject


def run_hashes(
    subject: Subject,
    threats: Sequence[ThreatModel],
    entries: Sequence[AttackEntry],
    config: AttackConfig,
    *,
    width: int,
    replay: Sequence[str],
    sources: Mapping[str, str],
    audit: Audit | None = None,
) -> list[str]:
    """One hash for each eps of `threats` (ascending, one norm).

    `replay`: ids of the runs whose points are tried first. `sources`: the hashes of models to
    transfer from, by name.
    """
    every_entry = [*entries, *(audit.entries if audit else ())]
    identity = {
        "model": [
            subject.label,
            subject.hash,
            subject.arch,
            subject.trained.get("head", "linear"),
        ],
        "samples": subject.split.fingerprint(ordered=True),
        **({} if subject.split.free is None else {"fixed": subject.split.fixed()}),
        "norm": threats[0].norm_name,
        **({"edition": EDITION} if threats[0].corruption else {}),
        **_target(subject, threats[0]),
        "attack": full_specs(entries),
        **({"audit": [audit.size, full_specs(audit.entries), audit.adaptive]} if audit else {}),
        "seed": config.seed,
        "schema": SCHEMA_VERSION,
        "code": [*subject.codes, *attack_codes(every_entry)],
        # Another package's attack may judge a sample by its batch.
        "width": width if has_backend(every_entry) else None,
        "search": [config.precision, config.compile, str(config.limits)],
        "replay": sorted(replay),
        "sources": dict(sources),
        "points": config.store_points,
    }
    every = [str(threat.eps) for threat in threats]
    # What breaks a sample at a smaller eps counts at a larger one. Stored points are chosen for the
    # largest eps, and a time limit is shared by all.
    timed = config.max_time is not None
    shared = {"among": every} if replay or timed else {}
    return [short_hash({**identity, "eps": every[: n + 1], **shared}) for n in range(len(every))]


def _target(subject: Subject, threat: ThreatModel) -> dict[str, object]:
    """The target, and the classes that it means where these do not depend on the model."""
    if threat.target is None:
        return {}
    targets = subject.split.targets
    known = None if targets is None else short_hash(targets.tolist())
    return {"target": [threat.target, known]}


def code_modules(subject: Subject, entries: Sequence[AttackEntry]) -> list[str]:
    """The modules that the code behind a run begins with: of its model, data and attacks."""
    specs = [spec for entry in entries for spec in _with_inner(entry)]
    return [*subject.modules, *(ATTACKS.parse(spec)[0].__module__ for spec in specs)]


def attack_codes(entries: Sequence[AttackEntry]) -> list[str]:
    """The package and version, or the hash of private code, of each attack and what it wraps."""
    return [ATTACKS.code(spec) for entry in entries for spec in _with_inner(entry)]


def full_specs(entries: Sequence[AttackEntry]) -> list[str]:
    """The cascade with every option written out."""
    return [ATTACKS.canonical(entry.spec, full=True) for entry in entries]


def has_backend(entries: Sequence[AttackEntry]) -> bool:
    """Whether another package's attack is among the entries."""
    return any(isinstance(entry.attack, Backend) for entry in entries)


def changed_answers(run_id: str) -> str:
    """A note on a run that differs from another one by the model's answers only."""
    return (
        f"the model's answers have changed since run {run_id}, though its code, weights and "
        "settings have not (does it read other files?): this is another run"
    )


def _with_inner(entry: AttackEntry) -> list[str]:
    """The entry's spec, and that of the attack it runs inside itself."""
    return [entry.spec, *([entry.attack.attack] if isinstance(entry.attack, Wrapper) else [])]
