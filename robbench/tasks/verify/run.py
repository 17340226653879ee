"""Verify runs and bundles: which of their numbers anybody can confirm."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.data.targets import aim
from robbench.store.answers import same_answers
from robbench.store.bundle import is_bundle, sha256, unpack
from robbench.store.find import STOPPED_EARLY
from robbench.store.locations import sibling_table
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.bundle import facts_of
from robbench.tasks.listener import Listener
from robbench.tasks.rebuild import folder_of, rebuild
from robbench.tasks.subject import Subject, of_run
from robbench.tasks.verify.claims import (
    Claim,
    exit_code,
    of_facts,
    of_hash,
    of_numbers,
    of_table,
)
from robbench.tasks.verify.points import Evidence, look_again
from robbench.threat.model import ThreatModel, parse_threat


class Verified(NamedTuple):
    """The claims of a run or, without `info`, of a bundle's files."""

    title: str
    info: dict[str, Any] | None
    claims: list[Claim]


@dataclasses.dataclass(frozen=True)
class Verifier:
    """Verifies runs with the models and the data that are here.

    out: the folder of models that no run has beside it. model, data: where those of the runs are by
    now, if not where the runs say.
    """

    out: Store
    device: torch.device
    model: str | None = None
    data: str | None = None
    data_dir: Path | None = None
    download: bool = False
    listener: Listener = dataclasses.field(default_factory=Listener)

    def verify(self, name: str) -> list[Verified]:
        """A bundle, or the runs that a name means. Raises as `unpack` and `Store.find_local`."""
        if is_bundle(name):
            return self._bundle(Path(name))
        return [self._run(path) for path in self.out.find_local([name])]

    def _bundle(self, path: Path) -> list[Verified]:
        with tempfile.TemporaryDirectory(prefix="robbench-") as folder:
            manifest, changed = unpack(path, Path(folder))
            files = [Claim(None, c.name, c.expected, c.found, "refuted", c.why) for c in changed]
            if not changed:
                n = f"{len(manifest['members'])} files"
                files = [Claim(None, "SHA-256 of files", n, n, "confirmed")]
            found = [Verified(f"bundle {path}, SHA-256 {sha256(path)}", None, files)]
            if changed:  # nothing in it is looked at any further
                return found
            ids = sorted(run["run_id"] for run in manifest["runs"])
            runs = sorted((Path(folder) / "results" / "runs").glob("*.parquet"))
            if not ids or sorted(file.stem for file in runs) != ids:
                raise UserError(f"{path}: its manifest does not name the runs that are in it")
            said = {run["run_id"]: run for run in manifest["runs"]}
            return found + [_as_said(said, self._run(file)) for file in runs]

    def _run(self, path: Path) -> Verified:
        run = read_run(path)
        info = run.info
        title = f"run {info['run_id']} of {info['model']}: {info['data']}, {info['threat']}"
        table = of_table(run)
        claims, seen, ids, why = [table], None, list[int](), ""
        try:
            threat = parse_threat(info["threat"])[0]
            whole = self._subject(path, run, threat)
        except UserError as error:
            if self.model or self.data:
                raise
            threat, why = ThreatModel(info["norm"], info["eps"], info["threat"]), str(error)
        else:
            subject = whole
            if info["status"] == STOPPED_EARLY:
                subject = of_run(whole, info, run.samples["sample_id"].to_pylist())
            claims = [*_identity(run, subject, len(whole.split)), table]
            ids = subject.split.ids.tolist()
            if any(claim.verdict == "refuted" for claim in claims[:-1]):
                why = "model or data are not those of the run"
            else:
                seen = self._look(path, run, subject, threat)
                claims += _targets(run, ids, seen)
        return Verified(title, info, [*claims, *of_numbers(run, threat, ids, seen, why)])

    def _subject(self, path: Path, run: Run, threat: ThreatModel) -> Subject:
        subject = rebuild(
            path,
            run,
            self.out if self.model else folder_of(path, run, self.out),
            device=self.device,
            model=self.model,
            data=self.data,
            data_dir=self.data_dir,
            download=self.download,
        )
        if threat.target is not None:
            found = aim(subject.split, threat.target, run.info["seed"])
            subject = subject._replace(split=found.split)
        return subject

    def _look(self, path: Path, run: Run, subject: Subject, threat: ThreatModel) -> Evidence:
        rows = {row["sample_id"]: row for row in run.samples.to_pylist()}
        kept = sibling_table(path, "points").exists()
        with self.listener.progress(f"verify {run.info['run_id']}") as bar:
            return look_again(
                subject.model,
                subject.split,
                threat,
                [rows[sample] for sample in subject.split.ids.tolist()],
                read_points(path) if kept else (),
                bar.update,
            )


def verify(
    names: Sequence[str],
    *,
    model: str | None = None,
    data: str | None = None,
    out: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    download: bool = False,
    listener: Listener | None = None,
) -> tuple[list[Verified], int]:
    """Verify what names mean, and the exit code: see `Verifier` and `claims.exit_code`."""
    verifier = Verifier(
        Store(out), find_device(device), model, data, data_dir, download, listener or Listener()
    )
    found = [one for name in names for one in verifier.verify(name)]
    return found, exit_code([claim for one in found for claim in one.claims])


def _as_said(said: Mapping[str, Mapping[str, Any]], one: Verified) -> Verified:
    """A run of a bundle, with whether the manifest says of it what its row says."""
    info = one.info or {}
    stated = {name: fact for name, fact in said[info["run_id"]].items() if name != "packed"}
    claim = of_facts(info["run_id"], "manifest", stated, facts_of(info), "the manifest says")
    return one._replace(claims=[claim, *one.claims])


def _identity(run: Run, subject: Subject, n: int) -> list[Claim]:
    """Whether model and samples are those of the run. n: samples that its settings name."""
    info, split = run.info, subject.split
    other = "the model is another, or has changed"
    claims = [of_hash(run, "model", info["model_hash"], subject.hash, other)]
    if info["answers"] is not None:
        same = same_answers(info["answers"], subject.answers, ("made",))
        found = "as before" if same else "other"
        claims.append(of_hash(run, "its answers", "as before", found, other))
    other = "the data are others, or have changed: see --data and --data-dir"
    claims.append(of_hash(run, "samples", info["data_hash"], split.fingerprint(), other))
    labels = dict(zip(split.ids.tolist(), split.labels.tolist(), strict=True))
    rows = zip(*(run.samples[name].to_pylist() for name in ("sample_id", "label")), strict=True)
    if dict(rows) != labels:
        other = "the rows are of other samples or labels than the data"
        claims[-1] = claims[-1]._replace(verdict="refuted", why=other)
    elif claims[-1].verdict == "confirmed" and len(split) < n:
        other = f"stopped early at {len(split)} of {n} samples; nothing tells how they were chosen"
        claims[-1] = claims[-1]._replace(verdict="unconfirmed", why=other)
    return claims


def _targets(run: Run, ids: Sequence[int], seen: Evidence) -> list[Claim]:
    """Whether each sample had to reach the class that the threat model names."""
    if seen.targets is None:
        return []
    said = dict(
        zip(*(run.samples[name].to_pylist() for name in ("sample_id", "target")), strict=True)
    )
    pairs = list(zip(ids, seen.targets.tolist(), strict=True))
    odd = tuple(sample for sample, target in pairs if said[sample] != target)
    same, n = len(pairs) - len(odd), len(pairs)
    claim = of_hash(run, "targets", f"{n}", f"{same}", "rows have other targets")
    return [claim._replace(samples=odd)]


def plain_rows(one: Verified) -> list[dict[str, Any]]:
    """The claims as plain values, each with what the run was about; ids as text.

    Not every reader has numbers of 63 bits.
    """
    about = {name: one.info[name] if one.info else None for name in ("model", "data", "threat")}
    return [
        {**claim._asdict(), **about, "samples": [f"{i:016x}" for i in claim.samples]}
        for claim in one.claims
    ]
