"""Measures of a run's samples by what all runs of the same weights found. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robbench.analysis.input_margins import InputMargins, input_margins, runs_alike
from robbench.analysis.margin_consistency import Clean, Value, brittle_inputs, consistency
from robbench.analysis.optimality import optimality_of_run
from robbench.store.measured import Measure
from robbench.store.run import read_run
from robbench.store.sound import OF_INPUT_MARGINS


def measure_distances(
    path: Path, split: str, sample_ids: Sequence[int]
) -> tuple[list[Measure], dict[str, list[Any]]]:
    """Measures of the samples of a run that need input margins, by all runs of its model.

    `path` is the run's runs file. In each norm that was attacked: `input_margin_*`, the median,
    null where it is beyond what was attacked; `security_curve_*`, the area under the curve;
    `margin_consistency_*`, Kendall's tau between clean logit margins and input margins. In the
    run's own norm: `brittle_auroc` and `brittle_fpr95` at its eps, and `optimality`. The columns
    hold each sample's margin, of a censored one its lower end.
    """
    measures: list[Measure] = []
    columns: dict[str, list[Any]] = {}
    info, alike = read_run(path, ("sample_id",)).info, runs_alike(path)
    clean = Clean.of(sample_ids, alike)
    for norm, margins in input_margins(sample_ids, alike).items():
        found = _in_any_norm(margins, clean)
        if norm == info["norm"]:
            found |= brittle_inputs(clean, margins, float(info["eps"]))
            found["optimality"] = optimality_of_run(info, alike, margins)
        facts = _facts(margins)
        measures += [
            Measure(name, "worst", split, value, facts | detail)
            for name, (value, detail) in found.items()
        ]
        columns |= _columns(margins, sample_ids)
    return measures, columns


def is_distance(measure: Measure) -> bool:
    """Whether a measure is one of `measure_distances`."""
    return measure.name.startswith(OF_INPUT_MARGINS)


def _in_any_norm(margins: InputMargins, clean: Clean) -> dict[str, Value]:
    """The median input margin, the area under the security curve, and margin consistency."""
    eps, robust = margins.curve()
    low, high = margins.area()
    middle = float(np.median(margins.smallest))
    median: dict[str, Any] = {"median_low": float(np.median(margins.withstood))}
    if middle > margins.reach:
        median["reason"] = f"the median is above {margins.reach:g}, where attacks ended"
    curve = {"eps": eps, "robust_accuracy": robust, "end": margins.end, "area_low": low}
    return {
        f"input_margin_{margins.norm}": (middle if middle <= margins.reach else None, median),
        f"security_curve_{margins.norm}": (high, curve),
        f"margin_consistency_{margins.norm}": consistency(clean, margins),
    }


def _columns(margins: InputMargins, sample_ids: Sequence[int]) -> dict[str, list[Any]]:
    """Each sample's margin, and whether it is a lower end; None where it was not attacked."""
    place = {int(sample): i for i, sample in enumerate(margins.sample_id)}
    ends = np.minimum(margins.smallest, margins.attacked).tolist()
    censored = (margins.censored | np.isinf(margins.smallest)).tolist()
    at = [place.get(sample) for sample in sample_ids]
    return {
        f"input_margin_{margins.norm}": [None if i is None else ends[i] for i in at],
        f"censored_{margins.norm}": [None if i is None else censored[i] for i in at],
    }


def _facts(margins: InputMargins) -> dict[str, Any]:
    """What numbers of these margins rest on, as plain values."""
    return {
        "norm": margins.norm,
        "samples": len(margins.smallest),
        "censored": int(margins.censored.sum()),
        "unfinished": int(margins.unfinished.sum()),
        "reach": margins.reach,
        "attacked_eps": [eps for eps in margins.eps if math.isfinite(eps)],
        "without_budget": math.inf in margins.eps,
        "runs": list(margins.runs),
    }
