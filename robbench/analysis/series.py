"""Runs as the lines of a figure: their groups, names and order.

NumPy only.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robbench.analysis.summary import column
from robbench.core.limits import Limits
from robbench.core.spec import short_hash
from robbench.store.run import Run
from robbench.store.settings import settings

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Series:
    """Runs of the same weights, attack, limits, samples, norm and target, eps rising: a line.

    `name` is that of the line, `model` that of the model, as `model_names` calls it.

    `place` is the model's number in the report, `attack_place` that of the attack, its limits and
    the samples in the figure: they decide colour and dashes.
    """

    name: str
    model: str
    place: int
    attack_place: int
    runs: tuple[Run, ...]

    @property
    def budgets(self) -> list[Run]:
        """The runs that had a budget."""
        return [run for run in self.runs if math.isfinite(run.info["eps"])]


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Comparable runs side by side: by data, split and norm as they first appear, eps rising.

    Within a budget they keep their order, so the first of them is still the one that the others are
    paired with.
    """
    seen = list(dict.fromkeys(facts(run) for run in runs))
    return sorted(runs, key=lambda run: (seen.index(facts(run)), run.info["eps"]))


def facts(run: Run) -> tuple[str, str, str]:
    """What a figure's runs have in common: data, split, and norm with its target, `linf -> 3`."""
    info = run.info
    towards = "" if info["target"] is None else f" -> {info['target']}"
    return info["data"], info["split"], info["norm"] + towards


def series_by_facts(runs: Sequence[Run]) -> dict[tuple[str, str, str], list[Series]]:
    """The runs as lines of figures, by data, split and norm, in their order.

    Two runs that differ in nothing keep the later.

    A line is named after its model; the attack, the start of the weights' hash and what else runs
    differ in (see `store/settings.py`) are added where the name would not tell. Runs that must not
    be compared but for their budgets (see `comparable.py`) are lines of their own.
    """
    weights = list(dict.fromkeys(_weights(run) for run in runs))
    names = model_names(runs)
    found: dict[tuple[str, str, str], list[Series]] = {}
    for key in dict.fromkeys(facts(run) for run in runs):
        mine = [run for run in runs if facts(run) == key]
        attacks = {run.info["attack"] for run in mine}
        apart = settings([run.info for run in mine], ("attack",), weights=False)
        lines: dict[tuple[Any, ...], dict[float, Run]] = {}
        for run, how, under in zip(mine, apart, _conditions(mine), strict=True):
            used = (run.info["attack"], under)
            lines.setdefault((_weights(run), used, how), {})[run.info["eps"]] = run
        places = list(dict.fromkeys(used for _, used, _ in lines))
        found[key] = [
            Series(
                ", ".join(
                    filter(None, [names[who], attack if len(attacks) > 1 else "", how, under])
                ),
                names[who],
                weights.index(who),
                places.index((attack, under)),
                tuple(by_eps[eps] for eps in sorted(by_eps)),
            )
            for (who, (attack, under), how), by_eps in lines.items()
        ]
    return found


def _conditions(runs: Sequence[Run]) -> list[str]:
    """What tells a run's samples, limits and attack in full from those of others: `first=64`."""
    infos = [run.info for run in runs]
    samples: dict[str, str] = {}  # by fingerprint: two subsets may be the same samples
    for info in infos:
        samples.setdefault(info["data_hash"], info["subset"] or "all samples")
    named = Counter(samples.values())
    called = Counter(name for name, _ in {(i["attack"], i["attack_params"]) for i in infos})
    facts = []
    for info in infos:
        code, limits = info["data_hash"], Limits(info["max_time_s"], info["max_queries"])
        other = called[info["attack"]] > 1
        facts.append(
            (
                samples[code] + (f" {code}" if named[samples[code]] > 1 else ""),
                f"limits {limits}",
                f"settings {short_hash(info['attack_params'])}" if other else "",
            )
        )
    differs = [len(set(values)) > 1 for values in zip(*facts, strict=True)]
    return [", ".join(filter(None, itertools.compress(each, differs))) for each in facts]


def model_names(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """A name for each model and its weights, with the start of their hash where two share it."""
    weights = list(dict.fromkeys(_weights(run) for run in runs))
    shared = {name for name, _ in weights if sum(other == name for other, _ in weights) > 1}
    return {
        (name, code): f"{name} {code[:4]}" if name in shared else name for name, code in weights
    }


def model_place(model: str, names: Mapping[tuple[str, str], str]) -> int:
    """The number in the report of a model's (first) weights, which decides its colour.

    `names` are those of `model_names`.
    """
    return [name for name, _ in names].index(model)


def name_of(run: Run, names: Mapping[tuple[str, str], str]) -> str:
    """A run's model as `model_names` calls it."""
    return names[_weights(run)]


def _weights(run: Run) -> tuple[str, str]:
    return run.info["model"], run.info["model_hash"]


def numbers(run: Run, name: str) -> Floats:
    """A column of a run's samples as floats [n], null as NaN."""
    values = run.samples[name]
    if values.null_count:
        values = values.fill_null(math.nan)
    return np.asarray(column(pa.table({name: values}), name), np.float64)
