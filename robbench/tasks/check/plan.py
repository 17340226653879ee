"""What is to be checked: a model under a threat model, and the run about it if there is one."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from robbench.core.device import find_device
from robbench.core.errors import UserError
from robbench.core.spec import short_hash, validate
from robbench.core.trust import names_from, refuse_private
from robbench.store.answers import same_answers
from robbench.store.run import Run, attacked_model, read_run
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.target import aimed_as
from robbench.tasks.attack.threats import parse_threats, usual_threat
from robbench.tasks.check.target import find_run, no_run
from robbench.tasks.subject import Subject, find_subject, not_found, of_run
from robbench.tasks.train.plan import known_threat
from robbench.threat.model import ThreatModel, require_inside

SLICE = 200
"""Samples that are asked about."""


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
    points: Sequence[Mapping[str, Any]] | None = None
    """Rows of the points table, of an unwritten run."""

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


def plan_check(
    text: str,
    config: AttackConfig,
    source: str | None,
    *,
    model: str | None,
    alone: bool,
    store: Store,
    device: str,
    data_dir: Path | None,
    download: bool,
) -> CheckPlan:
    """What a user means: a run (its id, its file, the latest of a model), or a model.

    It is always a model when `alone`; `model` is where a run's model is, if not under its name.
    Raises UserError for what is neither, and where the model or
    the data are no longer those of the run.
    """
    where = find_device(device)

    def find(name: str, settings: AttackConfig) -> tuple[Subject, str]:
        return find_subject(name, settings, store, where, data_dir, download)

    run_path = None if alone else find_run(text, store)
    if run_path is None:
        if model is not None:
            raise UserError(
                f"model {model} would be that of a run, and '{text}' is none; "
                f"{store.command('runs')} lists them"
            )
        with nullcontext() if alone else no_run(text):
            subject, data = find(text, dataclasses.replace(config, limit=config.limit or SLICE))
        plan = CheckPlan(subject, _one_threat(config.threat, data, subject), data, config.seed)
    else:
        with names_from(run_path, model):
            plan = _of_run(run_path, model, find)
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


def _of_run(
    path: Path, model: str | None, find: Callable[[str, AttackConfig], tuple[Subject, str]]
) -> CheckPlan:
    run = read_run(path)
    info, settings = run.info, json.loads(run.info["config"])
    # Or checks would skip what they cannot build.
    refuse_private(path, "attacks", json.loads(info["attack_params"]))
    config = validate(
        AttackConfig,
        {name: info[name] for name in ("data", "split", "seed")} | {"limit": settings.get("limit")},
        "run",
    )
    try:
        subject, data = find(model or attacked_model(info), config)
    except UserError as error:
        raise not_found(info, model, error) from error
    subject = of_run(subject, info, run.samples["sample_id"].to_pylist())
    for what, now, then in (
        ("model", subject.hash, info["model_hash"]),
        ("data", subject.split.fingerprint(), info["data_hash"]),
    ):
        if now != then:
            name = info["data"] if what == "data" else model or info["model"]
            raise UserError(
                f"{what} '{name}' is not what run {info['run_id']} was about: it has changed or "
                "is another; attack it again"
            )
    if not same_answers(info["answers"], subject.answers):
        raise UserError(
            f"model '{info['model']}' answers otherwise than in run {info['run_id']}: it has "
            "changed; attack it again"
        )
    threat = parse_threats([info["threat"]])[0][0]
    require_attacks(threat, info["run_id"])
    return CheckPlan(aimed_as(subject, run), threat, data, info["seed"], run, path)


def require_attacks(threat: ThreatModel, run_id: str) -> None:
    """Raise UserError for a run under a corruption: checks are of attacks."""
    if threat.corruption:
        raise UserError(
            f"run {run_id} is under {threat.text}, which no attack seeks: there is nothing to check"
        )


def _one_threat(texts: Sequence[str], data: str, subject: Subject) -> ThreatModel:
    given = texts or [known_threat(usual_threat(data, subject), data)]
    threats = [threat for group in parse_threats(given) for threat in group]
    if len(threats) > 1:
        raise UserError(
            f"a check is under one threat model, not {len(threats)}; name one such as "
            f"{threats[-1].text}"
        )
    if threats[0].target is not None:
        raise UserError(
            f"threat {threats[0].text} has a target: a model is checked without one; attack it, "
            "then check the run"
        )
    if not 0 < threats[0].eps < math.inf:
        raise UserError(
            f"threat {threats[0].text} has no budget to check an attack with; give one such as "
            f"{threats[0].norm_name}:0.1"
        )
    if threats[0].corruption:
        raise UserError(f"threat {threats[0].text} is no budget to check a model with: linf:8/255")
    require_inside(threats, subject.split.images.shape[1:])
    return threats[0]
