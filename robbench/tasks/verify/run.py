"""Verify runs and bundles: which of their numbers anybody can confirm."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.core.corruptions import is_corruption
from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.files import sha256
from robbench.data.targets import aim
from robbench.store.bundle import is_bundle, unpack
from robbench.store.find import STOPPED_EARLY
from robbench.store.index import require_rows
from robbench.store.locations import sibling_table
from robbench.store.row import run_row
from robbench.store.run import Run, attacked_model, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.bundle import Need, model_files, needs_of
from robbench.tasks.listener import Listener
from robbench.tasks.rebuild import folder_of, rebuild
from robbench.tasks.subject import Subject, of_run
from robbench.tasks.verify.claims import Claim, exit_code, of_numbers, of_table
from robbench.tasks.verify.corrupted import corrupt_again
from robbench.tasks.verify.identity import (
    of_description,
    of_identity,
    of_manifest,
    of_needs,
    of_targets,
)
from robbench.tasks.verify.points import Evidence, look_again
from robbench.threat.model import ThreatModel, parse_threat

_ABOUT = ("model", "data", "split", "n_samples", "threat", "attack")


class Verified(NamedTuple):
    """The claims of a run or, without `info`, of a bundle's files."""

    title: str
    info: dict[str, Any] | None
    claims: list[Claim]

    @property
    def bound(self) -> bool:
        """Whether its robust accuracy is an upper bound; under a corruption it is the accuracy."""
        return not (self.info and is_corruption(self.info["norm"]))


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
    _last: dict[tuple[Any, ...], Subject] = dataclasses.field(default_factory=dict, init=False)

    def verify(self, name: str) -> list[Verified]:
        """A bundle, or the runs that a name means. Raises as `unpack` and `Store.find_local`."""
        if is_bundle(name):
            return self._bundle(Path(name))
        return self._runs(self.out.find_local([name]))

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
            if broken := _unreadable(runs, Path(folder)):
                return [*found, *broken]
            facts, needs = _of_manifest(manifest, Path(folder))
            files.append(needs)
            return found + [
                one._replace(claims=[fact, *one.claims])
                for fact, one in zip(facts, self._runs(runs), strict=True)
            ]

    def _runs(self, paths: Sequence[Path]) -> list[Verified]:
        """The runs in their order; those of one model are read together, and it only once."""
        rows = require_rows(paths, ("model", "model_source"))
        models = {path: attacked_model(row) for path, row in zip(paths, rows, strict=True)}
        found = {path: self._run(path) for path in sorted(paths, key=models.__getitem__)}
        return [found[path] for path in paths]

    def _run(self, path: Path) -> Verified:
        run = read_run(path)
        info = run.info
        title = (
            f"run {info['run_id']} of {info['model']}: {info['data']} {info['split']}, "
            f"{info['n_samples']} samples, {info['threat']}, {info['attack']}"
        )
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
            if info["status"] == STOPPED_EARLY and info["n_samples"] < len(whole.split):
                subject = of_run(whole, info, run.samples["sample_id"].to_pylist())
            claims = [*of_identity(run, subject, len(whole.split)), table]
            ids = subject.split.ids.tolist()
            if any(claim.verdict == "refuted" for claim in claims[:-1]):
                why = "model or data are not those of the run"
            else:
                claims += [
                    of_description(
                        info,
                        subject,
                        whole=subject is whole,
                        other_model=self.model is not None,
                        other_data=self.data is not None,
                    )
                ]
                seen = self._look(path, run, subject, threat)
                claims += of_targets(run, ids, seen)
        return Verified(title, info, [*claims, *of_numbers(run, threat, ids, seen, why)])

    def _subject(self, path: Path, run: Run, threat: ThreatModel) -> Subject:
        home = self.out if self.model else folder_of(path, run, self.out)
        info = run.info
        limit = json.loads(info["config"]).get("limit")
        key = home.root, attacked_model(info), info["data"], info["split"], str(limit), info["seed"]
        if key not in self._last:
            self._last.clear()  # only one model at a time takes memory
            self._last[key] = rebuild(
                path,
                run,
                home,
                device=self.device,
                model=self.model,
                data=self.data,
                data_dir=self.data_dir,
                download=self.download,
            )
        subject = self._last[key]
        if threat.target is not None:
            found = aim(subject.split, threat.target, run.info["seed"])
            subject = subject._replace(split=found.split)
        return subject

    def _look(self, path: Path, run: Run, subject: Subject, threat: ThreatModel) -> Evidence:
        rows = {row["sample_id"]: row for row in run.samples.to_pylist()}
        ordered = [rows[sample] for sample in subject.split.ids.tolist()]
        if threat.corruption:
            seed = run.info["seed"]
            with self.listener.progress(f"verify {run.info['run_id']}") as bar:
                return corrupt_again(
                    subject.model, subject.split, threat, ordered, seed, bar.update
                )
        kept = sibling_table(path, "points").exists()
        with self.listener.progress(f"verify {run.info['run_id']}") as bar:
            return look_again(
                subject.model,
                subject.split,
                threat,
                ordered,
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


def _of_manifest(manifest: Mapping[str, Any], folder: Path) -> tuple[list[Claim], Claim]:
    """Whether the manifest of an unpacked bundle says what is in it.

    Of each run, in the order of their files, and of what else it takes to verify them.
    """
    store, facts, needs = Store(folder), dict[str, Claim](), list[Need]()
    for said in manifest["runs"]:
        path = store.run_path(said["run_id"])
        info, points = run_row(path), sibling_table(path, "points").is_file()
        packed = sorted(manifest["members"].keys() & model_files(info, None, store).keys())
        facts[path.name] = of_manifest(info, said, packed)
        needs += needs_of(info, packed=bool(packed), points=points)
    in_order = [facts[name] for name in sorted(facts)]
    return in_order, of_needs(manifest.get("needs"), list(dict.fromkeys(needs)))


def _unreadable(paths: Sequence[Path], folder: Path) -> list[Verified]:
    """The runs of an unpacked bundle whose tables are not those of one run."""
    found = []
    for path in paths:
        try:
            read_run(path)
        except UserError as error:
            why = str(error).replace(f"{folder}{os.sep}", "").partition(": copy")[0]
            claim = Claim(path.stem, "tables", "of one run", None, "refuted", why)
            found.append(Verified(f"run {path.stem}", None, [claim]))
    return found


def plain_rows(one: Verified) -> list[dict[str, Any]]:
    """The claims as plain values, each with what the run was about; ids as text.

    Not every reader has numbers of 63 bits.
    """
    about = {name: one.info[name] if one.info else None for name in _ABOUT}
    return [
        {**claim._asdict(), **about, "samples": [f"{i:016x}" for i in claim.samples]}
        for claim in one.claims
    ]
