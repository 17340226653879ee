"""A candidate to attack as a baseline was attacked, its samples in random order."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from robbench.analysis.gate_checks import Tolerances
from robbench.core import keyed
from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError
from robbench.core.limits import time_text
from robbench.core.spec import short_hash, validate
from robbench.core.trust import names_from
from robbench.data.base import Split
from robbench.store.locations import sibling_table
from robbench.store.run import Run
from robbench.store.settled import settled
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.identity import changed_answers, full_specs
from robbench.tasks.attack.plan import AttackPlan, plan_attacks

_ORDER = 0x6F72646572  # keeps the order apart from the attacks' random numbers of the same seed


class GatePlan(NamedTuple):
    """A candidate to attack as its baseline was; `order`: positions of samples, at random."""

    plan: AttackPlan
    baseline: Run
    order: list[int]
    seed: int

    @property
    def title(self) -> str:
        """Which model against which."""
        return f"{self.plan.subject.name} against {self.baseline.info['model']}"


def plan_gate(
    model: str,
    baseline: Run,
    path: Path,
    tolerances: Tolerances,
    *,
    seed: int,
    batch_size: int | None,
    out: Path,
    device: str,
    data_dir: Path | None,
    download: bool,
) -> GatePlan:
    """The candidate under samples, threat model and attacks of the baseline, the run at `path`.

    Raises UserError for tolerances that need all samples, where the baseline cannot be repeated (no
    budget, a time limit, attacks or data that are no longer the same), and as `plan_attacks` does,
    before anything is written.
    """
    if tolerances.margin is not None or tolerances.per_class is not None:
        raise UserError(
            "margins and classes need every sample: attack the model, then give --candidate"
        )
    info = baseline.info
    config = _config(info, path, batch_size)
    with names_from(path, model):
        (plan,) = plan_attacks(
            [model], config, out=out, device=device, data_dir=data_dir, download=download
        )
    if sorted(full_specs(plan.entries)) != sorted(json.loads(info["attack_params"])):
        raise UserError(
            f"this robbench reads the attacks of run {info['run_id']} otherwise "
            f"({info['attack']}): run it again"
        )
    split = plan.subject.split
    if sorted(split.ids.tolist()) != sorted(baseline.samples["sample_id"].to_pylist()):
        raise UserError(
            f"the samples of {info['data']} are not those of the baseline {info['run_id']} "
            f"(fingerprint {split.fingerprint()}, not {info['data_hash']}): "
            "fix the data or attack a new baseline"
        )
    identity = {"gate": plan.identities[0], "baseline": info["run_id"], "order": seed}
    run_id, other = settled(Store(out), short_hash(identity), plan.subject.answers)
    plan = dataclasses.replace(
        plan, run_ids=(run_id,), notes=() if other is None else (changed_answers(other),)
    )
    return GatePlan(plan, baseline, random_order(split, seed), seed)


def random_order(split: Split, seed: int) -> list[int]:
    """Positions of the samples, sorted by a random number from the seed and each one's content."""
    key = keyed.fold(keyed.fold(split.ids.cpu(), seed), _ORDER)
    return torch.argsort(key, stable=True).tolist()


def _config(info: dict[str, Any], path: Path, batch_size: int | None) -> AttackConfig:
    """The attack settings of a run, with its own points to replay where it kept any."""
    what = f"the baseline {info['run_id']}"
    if math.isinf(info["eps"]):
        raise UserError(
            f"{what} has no budget, so every sample is to be searched to the end: "
            "attack, then give --candidate"
        )
    if (seconds := info["max_time_s"]) is not None:
        raise UserError(
            f"{what} had the time limit {time_text(seconds)}, which no second run repeats: "
            "attack it without one, or with --max-queries"
        )
    if info["audit_attack"] is not None:
        raise UserError(
            f"{what} was audited ({info['audit_attack']}), which needs the verdicts of all "
            "samples: attack the model with the same --audit, then give --candidate"
        )
    try:
        stored, specs = json.loads(info["config"]), json.loads(info["attack_params"])
        settings = {name: stored.get(name) for name in ("limit", "precision", "compile")}
        if not isinstance(specs, list):
            raise ValueError
    except (ValueError, AttributeError):
        raise UserError(
            f"{what} does not say how it was attacked: make one with robbench attack"
        ) from None
    kept = sibling_table(path, "points").is_file()
    given = {
        **{name: value for name, value in settings.items() if value is not None},
        "attack": specs,
        "threat": [info["threat"]],
        "data": info["data"],
        "split": info["split"],
        "seed": info["seed"],
        "max_queries": info["max_queries"],
        "batch_size": batch_size or stored.get("batch_size"),
        "replay": [str(path.absolute())] if kept and not is_corruption(info["norm"]) else [],
    }
    return validate(
        AttackConfig, {name: value for name, value in given.items() if value is not None}, what
    )
