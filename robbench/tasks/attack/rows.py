"""A run's verdicts and facts as rows of the samples and runs tables."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from robbench.analysis.summary import summarise
from robbench.core.limits import time_text
from robbench.core.norms import NORMS
from robbench.core.status import NON_FINITE, OK, UNFINISHED
from robbench.core.tiles import RowEquality
from robbench.data.subset import limit_subset
from robbench.engine.records import CLEAN, REPLAY, Verdict
from robbench.store.provenance import provenance
from robbench.store.schema import DISTANCES, SCHEMA_VERSION
from robbench.tasks.attack.identity import attack_codes, full_specs, has_backend
from robbench.tasks.attack.plan import AttackPlan


def sample_row(
    plan: AttackPlan, v: Verdict, index: int, sample_id: int, label: int
) -> dict[str, Any]:
    """A verdict as a row of the samples table.

    `index` is the sample's position in the whole split.
    """
    broken_by = {CLEAN: "clean", REPLAY: "replay"}.get(
        v.entry, plan.breakers[v.entry] if v.entry >= 0 else None
    )
    rejects = plan.subject.rejects
    return {
        "run_id": plan.run_ids[v.eps_index],
        "sample_id": sample_id,
        "sample_index": index,
        "label": label,
        "clean_pred": v.clean_pred,
        "clean_margin": v.clean_margin,
        "clean_pmargin": v.clean_pmargin,
        "adv_pred": v.adv_pred,
        "adv_margin": v.adv_margin if v.known else None,
        "adv_pmargin": v.adv_pmargin if v.known else None,
        "clean_correct": v.entry != CLEAN and not v.clean_wrong,
        "adversarial": v.adversarial,
        "robust": not v.adversarial,
        **{f"dist_{norm}": getattr(v, norm) for norm in NORMS},
        "broken_by": broken_by,
        "broken_variant": v.variant if v.variant >= 0 else None,
        "first_success_step": v.step if v.step >= 0 else None,
        "n_forward": v.n_forward,
        "n_backward": v.n_backward,
        # A rejection is an answer, if none of a class.
        "status": OK if rejects and v.status == NON_FINITE else v.status,
        "clean_rejected": math.isnan(v.clean_margin) if rejects else None,
        "adv_rejected": not v.adversarial and v.n_unanswered > 0 if rejects else None,
        "n_nonfinite": v.n_nonfinite,
        "n_zero_gradient": v.n_zero_gradient,
        "target": v.target if v.target >= 0 else None,
    }


def finished_row(
    facts: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    *,
    disagreements: int | None,
    flags: Sequence[Any],
    wall: float,
    resumed: int,
) -> dict[str, Any]:
    """The row of the runs table, from `run_facts` and the sample rows."""
    norm, eps = facts["norm"], facts["eps"]
    provenance = json.loads(facts["provenance"]) | {"resumed_samples": resumed}
    return {
        **facts,
        **summarise(rows, budget=math.isfinite(eps)),
        "status": "done",
        "finished_at": datetime.now(UTC).replace(tzinfo=None),
        "wall_s": wall,
        "n_disagreements": disagreements,
        "distance_p50": _median_distance(rows, norm) if math.isinf(eps) else None,
        "flags": json.dumps([flag._asdict() for flag in flags]),
        "provenance": json.dumps(provenance),
    }


def run_facts(
    plan: AttackPlan,
    level: int,
    *,
    started: datetime,
    inspection: Sequence[int],
    equality: RowEquality,
) -> dict[str, Any]:
    """What the row of the runs table says of one budget of a plan before any sample is decided."""
    subject, config, facts, threat = plan.subject, plan.config, provenance(), plan.threats[level]
    trained = subject.trained.get("config", {})
    # The steps of an attack are bit-equal at any width on the CPU; of the models it is measured;
    # other packages promise nothing.
    plain = config.precision != "bf16" and not config.compile and config.max_time is None
    exact = (
        equality.equal and plan.device.type == "cpu" and plain and not has_backend(plan.all_entries)
    )
    device_name = (
        torch.cuda.get_device_name(plan.device) if plan.device.type == "cuda" else facts["cpu"]
    )
    settings = {
        **dataclasses.asdict(config),
        "max_time": None if config.max_time is None else time_text(config.max_time),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": plan.run_ids[level],
        "started_at": started,
        "model": plan.label,
        "model_arch": subject.arch,
        "model_hash": subject.hash,
        "loss": trained.get("loss"),
        "train_seed": trained.get("seed"),
        "data": plan.data,
        "split": config.split,
        "data_hash": subject.split.fingerprint(),
        "subset": None if config.limit is None else limit_subset(config.limit),
        "norm": threat.norm_name,
        "eps": threat.eps,
        "threat": threat.text,
        "attack": plan.attack,
        "attack_params": json.dumps(full_specs(plan.entries)),
        "seed": config.seed,
        "batch_size": plan.width,
        "git_sha": facts["git_sha"],
        "git_dirty": facts["git_dirty"],
        "robbench_version": facts["packages"]["robbench"],
        "python_version": facts["python"],
        "torch_version": facts["packages"]["torch"],
        "device": str(plan.device),
        "device_name": device_name,
        "deterministic": exact,
        "row_step": equality.step,
        "config": json.dumps(settings),
        "provenance": json.dumps(
            {
                **facts,
                "inspection_queries": inspection,
                "attack_code": attack_codes(plan.all_entries),
                **({"audit_params": full_specs(plan.audit.entries)} if plan.audit else {}),
            }
        ),
        "precision": config.precision,
        "max_time_s": config.max_time,
        "max_queries": config.max_queries,
        "train_config": json.dumps(trained) if trained else None,
        "answers": subject.answers,
        "model_outputs": subject.outputs or None,
        "model_source": None if plan.label == subject.source else subject.source,
        "tags": json.dumps(config.tag) if config.tag else None,
        "classes": class_names(subject.split.classes),
        "target": threat.target,
        "audit_attack": plan.audit.attack if plan.audit else None,
    }


_AT_THE_POINT = (
    *("adv_pred", "adv_margin", "adv_pmargin", "adversarial", "robust"),
    *DISTANCES,
    *("broken_by", "broken_variant", "first_success_step"),
)
_COUNTS = ("n_forward", "n_backward", "n_nonfinite", "n_zero_gradient")


def audited_row(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The row of a sample after an audit, from its row `before` and that of the audit alone.

    The point is that of the audit if it broke the sample or has come to a lower margin.
    """
    worse = found["adversarial"] or is_lower(found["adv_margin"], before["adv_margin"])
    settled = found["adversarial"] and before["status"] == UNFINISHED
    rejected = before["adv_rejected"], found["adv_rejected"]
    return {
        **before,
        **({name: found[name] for name in _AT_THE_POINT} if worse else {}),
        **{name: before[name] + found[name] for name in _COUNTS},
        "status": found["status"] if settled else max(before["status"], found["status"]),
        "adv_rejected": None if None in rejected else any(rejected) and not found["adversarial"],
        "audited": True,
    }


def of_audit_alone(before: dict[str, Any], audited: dict[str, Any]) -> dict[str, Any]:
    """What the audit of a sample has cost and come to, from its rows before and after it."""
    unfinished = audited["status"] == UNFINISHED
    return {
        **audited,
        **{name: audited[name] - before[name] for name in _COUNTS},
        "status": OK if unfinished else audited["status"],
    }


def is_lower(found: float | None, before: float | None) -> bool:
    """Whether a margin is lower as it is stored; None is not known."""
    if found is None or before is None:
        return found is not None
    return bool(np.float32(found) < np.float32(before))


def class_names(classes: Sequence[str]) -> str | None:
    """JSON; None where every class is called by its number."""
    return None if list(classes) == [*map(str, range(len(classes)))] else json.dumps(list(classes))


def _median_distance(rows: Sequence[dict[str, Any]], norm: str) -> float:
    """Half of the samples have an adversarial point no farther than this.

    Inf when none was found for so many.
    """
    sizes = sorted(row[f"dist_{norm}"] if row["adversarial"] else math.inf for row in rows)
    middle = len(sizes) // 2
    return sizes[middle] if len(sizes) % 2 else (sizes[middle - 1] + sizes[middle]) / 2
