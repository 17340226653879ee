"""Certify models: which samples no perturbation of a budget can change the prediction of."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from robbench.analysis.certified import Bracket, bracket
from robbench.analysis.soundness import contradiction
from robbench.catalogue.builtins import CERTIFIERS
from robbench.certifiers.base import Certifier, Prove, Sample
from robbench.certifiers.radius import RESOLUTION, SMALLEST, with_largest_radius
from robbench.core import keyed
from robbench.core.device import deterministic, find_device
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.spec import short_hash, validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.threats import parse_threats, usual_threat
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.model_names import known_models
from robbench.tasks.subject import Subject, find_subject
from robbench.tasks.train.plan import known_threat
from robbench.threat.model import ThreatModel, require_inside

METHOD = "crown"
_SEEN = 8
"""Samples on which the layers of a model are compared with it."""
_EVERY = 20.0
"""Seconds after which new certificates are written."""


@dataclasses.dataclass(frozen=True)
class Certified:
    """The certificates of one model under one threat model: a row per sample asked for.

    rows: of the certificates table. fresh: how many are new. path: the table, which may have rows
    of more samples. resolution: the step between radii that were tried, as a share; None of others.
    """

    label: str
    data: str
    split: str
    threat: str
    method: str
    smoothed: bool
    rows: list[dict[str, Any]]
    bracket: Bracket
    fresh: int
    path: Path
    resolution: float | None = None

    def fields(self) -> dict[str, Any]:
        """What was found as plain values, with the verdict or radius of each sample by its id."""
        radii = self.bracket.radii
        verdicts = {f"{sample:016x}": found for sample, found in self.bracket.verdicts.items()}
        return {
            "model": self.label,
            "data": self.data,
            "split": self.split,
            "threat": self.threat,
            "method": self.method,
            "smoothed": self.smoothed,
            **self.bracket.fields(),
            "resolution": self.resolution,
            "seconds": sum(row["seconds"] for row in self.rows),
            "n_forward": sum(row["n_forward"] for row in self.rows),
            "verdicts": verdicts,
            **({"radii": {f"{s:016x}": size for s, size in radii.items()}} if radii else {}),
        }


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is to be certified, and under which name its table goes."""

    subject: Subject
    data: str
    threat: ThreatModel
    certifier: Certifier
    method: str
    seed: int

    @property
    def bisected(self) -> bool:
        """Whether the largest radius is sought, which the method does not give by itself."""
        return math.isinf(self.threat.eps) and not self.certifier.radii

    @property
    def name(self) -> str:
        """A hash of all that decides a sample's certificate."""
        fixed = self.subject.split.fixed()
        grid = ["radius", RESOLUTION, SMALLEST] if self.bisected else ["radius"]
        budget = grid if math.isinf(self.threat.eps) else self.threat.eps
        facts = [self.subject.hash, self.subject.arch, self.threat.norm_name, budget]
        seed = self.seed if self.certifier.smoothed else 0
        return short_hash([*facts, self.method, seed, *([fixed] if fixed else [])])


def certify(
    models: Sequence[str],
    settings: Mapping[str, Any],
    *,
    method: str = METHOD,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> list[Certified]:
    """Certify each model under each threat model, and keep a row per sample.

    Without a budget (`linf:inf`) a sample's radius is the largest that is proven of it, to 0.1 %.

    settings: what was given of threat, data, split, limit and seed, as `AttackConfig` has them.
    method: a spec of a certifier. Samples that have a certificate are not asked again, unless
    `force`. Raises UserError, before anything is written, for a threat that the method has no
    certificates for, and for a model with a layer that it has no bounds for.
    """
    listener, store = listener or Listener(), Store(out)
    config, certifier, given = require_certifiable(settings, method)
    full = CERTIFIERS.canonical(method, full=True)
    where = find_device(device)
    if where.type == "mps":  # has no float64
        where = torch.device("cpu")
        listener.say("certificates are computed on the CPU: the device mps has no float64")
    names = known_models(models, store)
    store.check_writable()
    done = []
    for name in names:
        subject, data = find_subject(name, config, store, where, data_dir, download)
        threats = given or _usual(subject, data, certifier, method)
        require_inside(threats, subject.split.images.shape[1:])
        with frozen(subject.model), deterministic():
            prove = certifier.start(subject.model, subject.split.pixels(slice(0, _SEEN)))
            for threat in threats:
                job = _Job(subject, data, threat, certifier, full, config.seed)
                done.append(_run(job, prove, store, listener, force=force))
    return done


def require_certifiable(
    settings: Mapping[str, Any], method: str
) -> tuple[AttackConfig, Certifier, list[ThreatModel]]:
    """The settings, the certifier of a method, and the threat models that are given.

    Raises UserError for what `certify` refuses before it looks at a model.
    """
    config, certifier = validate(AttackConfig, settings, "certify"), CERTIFIERS.build(method)
    given = [threat for group in parse_threats(config.threat) for threat in group]
    for threat in given:
        _require_certifiable(threat, certifier, method)
    return config, certifier, given


def _usual(subject: Subject, data: str, certifier: Certifier, method: str) -> list[ThreatModel]:
    (threats,) = parse_threats([known_threat(usual_threat(data, subject), data)])
    for threat in threats:
        _require_certifiable(threat, certifier, method)
    return threats


def _require_certifiable(threat: ThreatModel, certifier: Certifier, method: str) -> None:
    """Raise UserError for another norm, a budget of 0 or a target."""
    norms = " or ".join(sorted(certifier.norms, reverse=True))
    if threat.norm_name not in certifier.norms:
        raise UserError(f"{method} certifies in {norms}, not in {threat.text}: give another threat")
    if not threat.eps:
        raise UserError(
            f"threat {threat.text} has no budget to certify; give one such as "
            f"{threat.norm_name}:0.1, or {threat.norm_name}:inf for the largest radius"
        )
    if threat.target is not None:
        raise UserError(
            f"threat {threat.text} has a target: a certificate is against any mistake, give "
            f"{threat.towards(None).text}"
        )


def _run(job: _Job, prove: Prove, store: Store, listener: Listener, *, force: bool) -> Certified:
    split, name = job.subject.split, job.name
    title = f"certify {job.subject.label} {job.threat.text}"
    with listener.progress(title) as bar, store.locked([name], say=listener.say):
        kept = {} if force else {row["sample_id"]: row for row in store.certificates(name)}
        ids = split.ids.tolist()
        fresh = [i for i, sample in enumerate(ids) if sample not in kept]
        known = _prove_all(job, prove, fresh, kept, store, bar)
    if not fresh:
        listener.say(f"{title}: certified already; nothing to do (--force does it again)")
    rows = [known[sample] for sample in ids]
    found = bracket(rows, store)
    if found.unsound:
        listener.say(f"{title}: {contradiction(found.unsound)}")
    if rounded := len(found.contradicted) - len(found.unsound):
        listener.say(
            f"{title}: attacks broke {rounded} certified samples, which float32 rounding alone "
            "explains; they count as broken"
        )
    return Certified(
        label=job.subject.label,
        data=job.data,
        split=split.split,
        threat=job.threat.text,
        method=job.method,
        smoothed=job.certifier.smoothed,
        rows=rows,
        bracket=found,
        fresh=len(fresh),
        path=store.certificates_path(name),
        resolution=RESOLUTION if job.bisected else None,
    )


def _prove_all(
    job: _Job,
    prove: Prove,
    todo: Sequence[int],
    kept: Mapping[int, dict[str, Any]],
    store: Store,
    bar: Bar,
) -> dict[int, dict[str, Any]]:
    """The rows kept and those of the samples number `todo`, by id.

    They are written now and then, and when all is done or a signal or an error ends it.
    """
    rows, written = dict(kept), time.monotonic()
    bar.update(0.0, f"0 of {len(todo)} samples")  # from here the time left is estimated
    try:
        for n, i in enumerate(todo):
            row = _certificate(job, prove, i)
            rows[row["sample_id"]] = row
            bar.update((n + 1) / len(todo), f"{n + 1} of {len(todo)} samples")
            if time.monotonic() - written > _EVERY:
                store.write_certificates(job.name, list(rows.values()))
                written = time.monotonic()
    finally:
        if len(rows) > len(kept):
            store.write_certificates(job.name, list(rows.values()))
    return rows


def _certificate(job: _Job, prove: Prove, i: int) -> dict[str, Any]:
    """The row of sample number i."""
    split, threat = job.subject.split, job.threat
    place, begun = slice(i, i + 1), time.monotonic()
    sample = Sample(
        x=split.pixels(place),
        label=int(split.labels[i]),
        key=keyed.fold(split.ids[place], job.seed),
        eps=threat.eps,
        norm=threat.norm_name,
        free=split.free,
    )
    found = with_largest_radius(prove, sample) if job.bisected else prove(sample)
    return {
        "certified_at": datetime.now(UTC).replace(tzinfo=None),
        "model": job.subject.label,
        "model_hash": job.subject.hash,
        "data": job.data,
        "split": split.split,
        "norm": threat.norm_name,
        "eps": threat.eps,
        "threat": threat.text,
        "method": job.method,
        "smoothed": job.certifier.smoothed,
        "seed": job.seed,
        "sample_id": int(split.ids[i]),
        "label": sample.label,
        **found._asdict(),
        "seconds": time.monotonic() - begun,
    }
