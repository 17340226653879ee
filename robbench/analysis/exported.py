"""Finished runs as other tools take them: settings, measures with intervals, training curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from robbench.analysis.certified import Proofs
from robbench.analysis.claims import distance, with_contradictions
from robbench.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.analysis.summary import summarise
from robbench.core.escaping import public
from robbench.statistics.proportions import wilson
from robbench.store.run import Run, attacked_model, tags_of
from robbench.store.schema import DISTANCES

COLUMNS = ("sample_id", *SUMMARY_COLUMNS, *DISTANCES)
"""The sample columns that `record` needs."""

_SETTINGS = (
    *("model", "model_arch", "model_outputs", "loss", "train_seed", "data", "split", "subset"),
    *("threat", "norm", "eps", "target", "attack", "audit_attack", "seed", "precision"),
    *("max_time_s", "max_queries"),
)
_TAGS = (
    *("run_id", "model", "threat", "attack", "model_hash", "data_hash", "git_sha", "git_dirty"),
    *("robbench_version", "torch_version", "device_name"),
)
_IN_TITLE = ("precision", "max_time_s", "max_queries", "audit_attack")
_PLAIN = (
    *("robust_accuracy_audited", "adversarial_ratio", "attack_success_rate"),
    *("clean_margin_p50", "adv_margin_p50", "clean_rejection_rate", "adv_rejection_rate"),
)
_OF_EPOCHS = (
    *("learning_rate", "train_loss", "clean_accuracy", "robust_accuracy"),
    *("clean_margin", "adv_margin", "seconds"),
)


@dataclass(frozen=True)
class Measure:
    """A finite number of a run; the bounds of its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Record:
    """What there is to export of a run.

    title: the same for all runs of a model's name on the same samples under the same threat model,
    attack and limits, whatever the weights; of paths the last part. settings: of attack and
    training (`train.lr`), none without value. measures: by the names of columns, rates in [0,1].
    curves: by the name of each, pairs of epoch (from 1) and value. epoch: that of the weights, 0
    where it is not known. Times are in seconds since 1970.
    """

    run_id: str
    title: str
    settings: dict[str, Any]
    tags: dict[str, str]
    measures: dict[str, Measure]
    curves: dict[str, list[tuple[int, float]]]
    epoch: int
    started: float
    finished: float

    @property
    def numbers(self) -> dict[str, float]:
        """The measures, and the bounds of their intervals as `NAME_low` and `NAME_high`."""
        return {
            f"{name}{end}": value
            for name, number in self.measures.items()
            for end, value in (("", number.value), ("_low", number.low), ("_high", number.high))
            if value is not None
        }


def record(
    run: Run, epochs: Sequence[Mapping[str, Any]] = (), certified: Proofs | None = None
) -> Record:
    """The record of a run, whose numbers are counted from its samples.

    epochs: rows of its training, if they are known; certified: what is proven of its samples.
    """
    info = run.info
    trained = json.loads(info["train_config"] or "{}")
    settings = {name: info[name] for name in _SETTINGS}
    settings |= {f"train.{name}": value for name, value in trained.items()}
    against = with_contradictions(run) + (certified.flags() if certified else [])
    flags = ", ".join(flag["name"] for flag in against)
    tags = {name: info[name] for name in _TAGS} | {"flags": flags, "tags": ", ".join(tags_of(info))}
    return Record(
        info["run_id"],
        _title(info),
        {name: value for name, value in settings.items() if value is not None},
        {name: str(value) for name, value in tags.items() if value not in (None, "")},
        _measures(run, certified),
        _curves(epochs),
        _epoch(attacked_model(info), epochs),
        _seconds(info["started_at"]),
        _seconds(info["finished_at"]),
    )


def _title(info: Mapping[str, Any]) -> str:
    subset = f" {info['subset']}" if info["subset"] else ""
    data = public(info["data"])
    # Two files of one name in two folders are two data sets, and so is what a program gave.
    if data != info["data"] or data == "memory":
        data += f" ({info['data_hash'][:8]})"
    parts = [
        f"{public(info['model'])} on {data} {info['split']}{subset}",
        public(info["threat"]),
        public(info["attack"]),
    ]
    usual = (None, "fp32")
    parts += [f"{name} {info[name]}" for name in _IN_TITLE if info[name] not in usual]
    return ", ".join([*parts, *([f"seed {info['seed']}"] if info["seed"] else [])])


def _measures(run: Run, certified: Proofs | None) -> dict[str, Measure]:
    info = run.info
    found = summarise(run.samples, budget=math.isfinite(info["eps"]))
    n = found["n_samples"]
    numbers: dict[str, tuple[float | None, ...]] = {
        name: (found[name], found[f"{name}_low"], found[f"{name}_high"])
        for name in ("clean_accuracy", "robust_accuracy")
    }
    if found["n_unfinished"]:
        numbers["robust_accuracy_floor"] = (found["robust_accuracy_floor"],)
    if certified is not None:
        if (share := certified.share) is not None:
            numbers["certified_accuracy"] = (share, *wilson(round(share * n), n))
        numbers["certified_radius_p50"] = (certified.radius_p50,)
    numbers |= {name: (found[name],) for name in _PLAIN}
    numbers |= {name: (value,) for name, value in distance(run).items()}
    numbers |= {
        "n_samples": (n,),
        "n_forward_per_sample": (found["n_forward"] / n,),
        "n_backward_per_sample": (found["n_backward"] / n,),
        "wall_s": (info["wall_s"],),
    }
    return {
        name: Measure(values[0], *values[1:])
        for name, values in numbers.items()
        if values[0] is not None and math.isfinite(values[0])
    }


def _curves(epochs: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in epochs:
        known = {name: row[name] for name in _OF_EPOCHS}
        for name, value in json.loads(row["logs"] or "{}").items():
            known[f"{name}_logged" if name in _OF_EPOCHS else name] = value
        for name, value in known.items():
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, []).append((row["epoch"], value))
    return found


def _epoch(model: str, epochs: Sequence[Mapping[str, Any]]) -> int:
    chosen = [row["epoch"] for row in epochs if row["selected"]]
    last = max((row["epoch"] for row in epochs), default=0)
    return chosen[-1] if chosen and not model.endswith("@last") else last


def _seconds(time: datetime) -> float:
    return time.replace(tzinfo=UTC).timestamp()
