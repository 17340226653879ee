"""What may be published of runs: exact numbers and hashes, of places only the last part."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from robbench.analysis.checked import speaks_against
from robbench.analysis.summary import CI_LEVEL, CI_METHOD
from robbench.core.corruptions import is_corruption
from robbench.core.escaping import public
from robbench.core.limits import Limits
from robbench.reports import audit, texts
from robbench.statistics.proportions import wilson
from robbench.store.run import Run

Row = Mapping[str, Any]
CERTIFIED = ("certified accuracy", "median certified radius")
"""The names of the metrics that are no attack's."""


class Weights(NamedTuple):
    """A file of weights: its name, and its SHA-256 as sha256sum prints it."""

    name: str
    sha256: str


class Metric(NamedTuple):
    """A number of a run; low, high: its 95 % interval, where it has one.

    Rates are in [0,1]. The value is None where it is infinite, of a median that was not found.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


class Evaluation(NamedTuple):
    """A run as it is published. `facts` are plain values; `notes` are sentences for people."""

    facts: dict[str, Any]
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """All of it as plain values, the metrics in its `results`."""
        return {**self.facts, "results": [_plain(one) for one in self.metrics]}


class Subject(NamedTuple):
    """A model, its file of weights where there is one, and its runs, at least one."""

    name: str
    architecture: str
    hash: str
    outputs: str | None
    weights: Weights | None
    evaluations: tuple[Evaluation, ...]

    @property
    def last(self) -> str:
        """When the last run was finished: RFC 3339, UTC."""
        return max(str(one.facts["finished_at"]) for one in self.evaluations)


def samples_text(facts: Mapping[str, Any]) -> str:
    """Which samples an evaluation is of: `digits test first=100`."""
    data = facts["data"]
    return " ".join(filter(None, (data["data"], data["split"], data["subset"])))


def attack_text(facts: Mapping[str, Any]) -> str:
    """The attack and what is unusual of it: `apgd within 60s, bf16, seed 1`."""
    attack = facts["attack"]
    limits = Limits(attack["max_time_s"], attack["max_queries"])
    precision = attack["precision"] or "fp32"
    said = attack["text"] + (f" within {limits}" if limits else "")
    unusual = [precision] if precision != "fp32" else []
    return ", ".join([said, *unusual, *([f"seed {attack['seed']}"] if attack["seed"] else [])])


def evaluation(run: Run, row: Row, checks: Sequence[Row], *, points: bool) -> Evaluation:
    """A run for publication. row: of `compare`; checks: of the run; points: whether it kept any.

    Tags, command lines, environment, machine and names of classes are left out.
    """
    info = run.info
    flags = [flag for flag in row["flags"] if flag["name"] != "loaded"]  # that says from where
    failed = [check for check in checks if speaks_against(check)]
    facts = {
        "run_id": info["run_id"],
        "started_at": _time(info["started_at"]),
        "finished_at": _time(info["finished_at"]),
        "data": {
            **{name: public(info[name]) for name in ("data", "split", "subset")},
            "samples": info["n_samples"],
            "hash": info["data_hash"],
        },
        "threat": {
            "text": public(info["threat"]),
            "norm": info["norm"],
            "eps": info["eps"] if math.isfinite(info["eps"]) else None,
            "target": public(info["target"]),
        },
        "attack": {
            "text": public(info["attack"]),
            "settings": [public(text) for text in json.loads(info["attack_params"])],
            **{name: info[name] for name in ("seed", "precision", "max_time_s", "max_queries")},
        },
        "counts": {
            "n_robust": None if row["robust_accuracy"] is None else row["n_robust"],
            **{name: row[name] for name in ("n_unfinished", "n_error")},
            "n_unconfirmed": row["n_unconfirmed"],
        },
        "rejections": _rejections(row),
        "audit": _audit(row),
        "checks": {
            "state": row["checks"],
            "failed": [_said(check, "check") for check in failed],
        },
        "flags": [_said(flag, "name") for flag in flags],
        "points_kept": points,
        "versions": {
            "robbench": info["robbench_version"],
            "torch": info["torch_version"],
            "python": info["python_version"],
        },
    }
    said = [audit.audit(row), *texts.warnings(row, checks)]
    if rejected := texts.rejections(row):
        said.append(f"rejected, clean -> under attack: {rejected}")
    # Corrupted inputs are made again; other broken samples are known by their points.
    if not points and info["attack_success_rate"] and not is_corruption(info["norm"]):
        said.append("kept no points: attack with --store-points, so that others can verify it")
    return Evaluation(facts, tuple(_metrics(row)), tuple(public(text) for text in said if text))


def _metrics(row: Row) -> list[Metric]:
    found = [_rate(row, "clean_accuracy", "clean accuracy")]
    if row["robust_accuracy"] is not None:
        found.append(_rate(row, "robust_accuracy", texts.rates(row)[0]))
    if (share := row["certified_accuracy"]) is not None:
        n = row["n_samples"]
        found.append(Metric(CERTIFIED[0], share, *wilson(round(share * n), n)))
    if (median := row["distance_p50"]) is not None:
        size = median if math.isfinite(median) else None
        found.append(Metric(f"median {row['norm']} distance", size))
    if (radius := row["certified_radius_p50"]) is not None:
        found.append(Metric(CERTIFIED[1], radius))
    return found


def _rate(row: Row, name: str, said: str) -> Metric:
    return Metric(said, row[name], row[f"{name}_low"], row[f"{name}_high"])


def _audit(row: Row) -> dict[str, Any] | None:
    if row["audit_attack"] is None:
        return None
    names = ("n_audited", "n_audit_broken", "n_survivors", "audit_missed_high")
    return {
        "attack": public(row["audit_attack"]),
        **{name: row[name] for name in (*names, "robust_accuracy_audited")},
    }


def _rejections(row: Row) -> dict[str, float] | None:
    if not texts.rejections(row):
        return None
    return {"clean": row["clean_rejection_rate"], "under_attack": row["adv_rejection_rate"]}


def _said(row: Row, key: str) -> dict[str, str]:
    return {"name": public(row[key]), "text": public(row["text"])}


def _plain(metric: Metric) -> dict[str, Any]:
    interval = {"low": metric.low, "high": metric.high, "level": CI_LEVEL, "method": CI_METHOD}
    return {
        "name": metric.name,
        "value": metric.value,
        "interval": None if metric.low is None else interval,
    }


def _time(when: datetime) -> str:
    return f"{when.replace(tzinfo=None).isoformat()}Z"
