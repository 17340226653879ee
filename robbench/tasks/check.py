"""Check what an attack's number is worth: of a run, of a model, and in short after every attack."""

from __future__ import annotations

import dataclasses
import glob
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robbench.checks.base import Finding, run_checks
from robbench.checks.evidence import Evidence
from robbench.checks.registry import CHECKS
from robbench.core.device import deterministic, find_device
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.spec import short_hash, validate
from robbench.core.trust import names_from, refuse_private
from robbench.data.base import Split
from robbench.data.load import default_threat
from robbench.store.answers import same_answers
from robbench.store.locations import sibling_table
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import AttackPlan, parse_threats
from robbench.tasks.attack.points import decode_raw
from robbench.tasks.small_models import transfer_source
from robbench.tasks.subject import Subject, find_subject, of_run
from robbench.tasks.train.plan import known_threat
from robbench.threat.model import ThreatModel, require_inside

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Nobody hears."""


SLICE = 200  # samples that are asked about
AFTER_SLICE, AFTER_COST, AFTER_SHARE = (
    64,
    50,
    0.1,
)  # after an attack: samples, queries per sample and check, of the run's queries


@dataclasses.dataclass(frozen=True)
class CheckPlan:
    """A model under a threat, and the run about it if there is one."""

    subject: Subject
    threat: ThreatModel
    data: str
    seed: int
    run: Run | None = None
    path: Path | None = None  # of the run's row
    source: nn.Module | None = None  # to transfer from
    points: Sequence[Mapping[str, Any]] | None = (
        None  # rows of the points table, of an unwritten run
    )

    @property
    def name(self) -> str:
        """What its checks are filed under: the run id, or a hash of what they depend on."""
        if self.run is not None:
            return str(self.run.info["run_id"])
        facts = [
            self.subject.label,
            self.subject.hash,
            self.subject.arch,
            self.data,
            self.threat.text,
            self.seed,
        ]
        return "model-" + short_hash([*facts, self.subject.split.fingerprint(ordered=True)])


def plan_check(text: str, config: AttackConfig, source: str | None, *, alone: bool, store: Store, device: str,
               data_dir: Path | None, download: bool) -> CheckPlan:  # fmt: skip
    """What a user means: a run (its id, its file, or the latest of a model), or a model, which it always is when `alone`.

    Raises UserError for what is neither, and where the model or the data are no longer those of the
    run.
    """
    where = find_device(device)

    def find(name: str, settings: AttackConfig) -> tuple[Subject, str]:
        return find_subject(name, settings, store, where, data_dir, download)

    run_path = None if alone else _find_run(text, store)
    if run_path is None:
        try:
            subject, data = find(text, dataclasses.replace(config, limit=config.limit or SLICE))
        except UserError as error:
            raise (
                error if alone else UserError(f"'{text}' is no run; as a model: {error}")
            ) from error
        plan = CheckPlan(subject, _one_threat(config.threat, data, subject), data, config.seed)
    else:
        with names_from(run_path):
            plan = _of_run(run_path, find)
    if source:
        other = validate(
            AttackConfig,
            {"data": plan.data, "split": plan.subject.split.split, "limit": 8},
            "source",
        )
        plan = dataclasses.replace(
            plan, source=find(source, other)[0].model.eval().requires_grad_(False)
        )
    return plan


def check(plan: CheckPlan, store: Store, limit: int, data_dir: Path | None, watch: Callable[[float, str], None],
          say: Say = _silent) -> list[dict[str, Any]]:  # fmt: skip
    """Make all checks, as `check_rows` does, and write their rows, which are given back.

    Waits while another process works on the run, and `say`s so.
    """
    store.check_writable()
    with store.locked([plan.name], say=say):
        rows = check_rows(plan, limit, data_dir, watch)
        store.write_checks(plan.name, rows)
    return rows


def check_rows(
    plan: CheckPlan, limit: int, data_dir: Path | None, watch: Callable[[float, str], None]
) -> list[dict[str, Any]]:
    """All checks on the first `limit` samples, those of rows on every row, as the checks table has them.

    Without a source, a small one is trained where that is cheap.
    """
    costly = [c for c in CHECKS if c.cost or plan.run is None]
    if plan.source is None and 0 < plan.threat.eps < math.inf:
        watch(0.0, "training a model to transfer from")
        plan = dataclasses.replace(
            plan, source=transfer_source(plan.subject.split, plan.data, plan.threat, data_dir)
        )

    def tell(n: int, name: str) -> None:
        watch(n / len(costly), name)

    named = (
        names_from(plan.path) if plan.path else nullcontext()
    )  # the attacks of a run are those that its file names
    with named, frozen(plan.subject.model), deterministic():
        free = run_checks([c for c in CHECKS if c not in costly], _evidence(plan))
        findings = free + run_checks(costly, _evidence(plan, limit), watch=tell)
    return _rows(plan, findings, automatic=False)


def check_after(plan: AttackPlan, runs: Sequence[Run], store: Store, *, fresh: bool = True, say: Say = _silent,
                asked_to_stop: Callable[[], None] = lambda: None) -> list[list[dict[str, Any]]]:  # fmt: skip
    """The automatic checks of the runs of one plan, written or read: made where runs are fresh, or a killed process left none.

    They are what rows and points say of each run, and of the largest budget a little more: on
    AFTER_SLICE samples, with the checks that cost AFTER_COST queries per sample at most, as long as
    all of it costs no more than AFTER_SHARE of the run.
    """
    ids = [run.info["run_id"] for run in runs]
    if not fresh and all(store.has_checks(run_id) for run_id in ids):
        return [store.checks(run_id) for run_id in ids]
    with store.locked(ids, say=say, asked_to_stop=asked_to_stop):
        return [
            _check_after(plan, run, threat, store, last=run is runs[-1])
            if fresh or not store.has_checks(run.info["run_id"])
            else store.checks(run.info["run_id"])
            for run, threat in zip(runs, plan.threats, strict=True)
        ]


def _check_after(
    plan: AttackPlan, run: Run, threat: ThreatModel, store: Store, *, last: bool
) -> list[dict[str, Any]]:
    path = store.run_path(run.info["run_id"])
    subject = CheckPlan(plan.subject, threat, plan.data, plan.config.seed, run, path)
    allowed = AFTER_SHARE * (run.info["n_forward"] + run.info["n_backward"]) if last else 0
    cheap = [c for c in CHECKS if 0 < c.cost <= AFTER_COST and c.name != "transfer"]
    with frozen(plan.subject.model), deterministic():
        free = run_checks([c for c in CHECKS if not c.cost], _evidence(subject))
        findings = free + run_checks(cheap, _evidence(subject, AFTER_SLICE, most=allowed))
    rows = _rows(subject, findings, automatic=True)
    store.write_checks(subject.name, rows)
    return rows


def _evidence(plan: CheckPlan, limit: int | None = None, most: float = math.inf) -> Evidence:
    """The first samples with their stored points; without a limit all samples, for the checks that need no points."""
    split, size = plan.subject.split, len(plan.subject.split)
    split = split.take(
        torch.arange(size if limit is None else min(limit, size), device=split.labels.device)
    )
    points = _points(plan, split) if limit is not None else None
    rows = None
    if plan.run is not None:
        known = {row["sample_id"]: row for row in plan.run.samples.to_pylist()}
        rows = [known[sample] for sample in split.ids.tolist()]
    return Evidence(
        plan.subject.model, split, plan.threat, seed=plan.seed, rows=rows, info=plan.run.info if plan.run else None,
        points=points, source=plan.source, most=most,
    )  # fmt: skip


def _rows(plan: CheckPlan, findings: Sequence[Finding], *, automatic: bool) -> list[dict[str, Any]]:
    common = {
        "subject": plan.name, "run_id": plan.run.info["run_id"] if plan.run else None, "model": plan.subject.label,
        "checked_at": datetime.now(UTC).replace(tzinfo=None), "model_hash": plan.subject.hash, "data": plan.data,
        "split": plan.subject.split.split, "threat": plan.threat.text, "automatic": automatic,
    }  # fmt: skip
    rows = [{**common, **dataclasses.asdict(f), "evidence": list(f.evidence)} for f in findings]
    for row in rows:
        row |= {
            name: None if math.isnan(row[name]) else float(row[name])
            for name in ("figure", "threshold")
        }
    return rows


def _find_run(text: str, store: Store) -> Path | None:
    """The run that a text means, of several the latest; None when it means none. UserError where files cannot be read."""
    runs = store.run_path(text).parent
    if not text.endswith(".parquet") and not any(runs.glob("*.parquet")):
        return None
    try:
        return store.find_local([text])[-1]
    except UserError:
        if text.endswith(".parquet") or any(runs.glob(f"{glob.escape(text)}*.parquet")):
            raise
        store.find()  # a damaged file is no reason to take a run for a model
        return None


def _of_run(path: Path, find: Callable[[str, AttackConfig], tuple[Subject, str]]) -> CheckPlan:
    run = read_run(path)
    info, settings = run.info, json.loads(run.info["config"])
    refuse_private(
        path, "attacks", json.loads(info["attack_params"])
    )  # or checks would skip what they cannot build
    config = validate(
        AttackConfig,
        {name: info[name] for name in ("data", "split", "seed")} | {"limit": settings.get("limit")},
        "run",
    )
    try:
        subject, data = find(info["model"], config)
    except UserError as error:
        raise UserError(f"the model of run {info['run_id']} cannot be had: {error}") from error
    subject = of_run(subject, info, run.samples["sample_id"].to_pylist())
    for what, now, then in (
        ("model", subject.hash, info["model_hash"]),
        ("data", subject.split.fingerprint(), info["data_hash"]),
    ):
        if now != then:
            name = info["model" if what == "model" else "data"]
            raise UserError(
                f"{what} '{name}' is not what run {info['run_id']} was about: it has changed; attack it again"
            )
    if not same_answers(info["answers"], subject.answers):
        raise UserError(
            f"model '{info['model']}' answers otherwise than in run {info['run_id']}: it has changed; attack it again"
        )
    threat = parse_threats([info["threat"]])[0][0]
    return CheckPlan(subject, threat, data, info["seed"], run, path)


def _points(plan: CheckPlan, split: Split) -> dict[int, Tensor] | None:
    """The worst points of some of a run's samples, as they are stored; None when it kept none."""
    stored: Iterable[Mapping[str, Any]] | None = plan.points
    if plan.path is not None and sibling_table(plan.path, "points").exists():
        stored = read_points(plan.path)
    if stored is None:
        return None
    clean = dict(zip(split.ids.tolist(), split.pixels(slice(None)), strict=True))
    return {
        row["sample_id"]: decode_raw(row, clean[row["sample_id"]])
        for row in stored
        if row["sample_id"] in clean
    }


def _one_threat(texts: Sequence[str], data: str, subject: Subject) -> ThreatModel:
    usual = default_threat(data) or subject.trained.get("config", {}).get("threat")
    threats = [
        threat for group in parse_threats(texts or [known_threat(usual, data)]) for threat in group
    ]
    if len(threats) > 1:
        raise UserError(
            f"a check is under one threat model, not {len(threats)}; name one such as {threats[-1].text}"
        )
    if not 0 < threats[0].eps < math.inf:
        raise UserError(
            f"threat {threats[0].text} has no budget to check an attack with; give one such as {threats[0].norm_name}:0.1"
        )
    require_inside(threats, subject.split.images.shape[1:])
    return threats[0]
