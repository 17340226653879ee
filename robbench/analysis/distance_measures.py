"""Measures of a run's samples by what all runs of the same weights found. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robbench.analysis.input_margins import InputMargins, input_margins, runs_alike
from robbench.analysis.margin_consistency import Clean, brittle_inputs, consistency
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
        facts, (eps, robust), (low, high) = _facts(margins), margins.curve(), margins.area()

        def measure(
            name: str,
            value: float | None,
            detail: dict[str, Any],
            common: dict[str, Any] = facts,
        ) -> None:
            measures.append(Measure(name, "worst", split, value, common | detail))

        middle = float(np.median(margins.smallest))
        known = middle if middle <= margins.reach else None
        reason = (
            {}
            if known is not None
            else {"reason": f"the median is above {margins.reach:g}, where attacks ended"}
        )
        bounds = {"median_low": float(np.median(margins.withstood))}
        measure(f"input_margin_{norm}", known, bounds | reason)
        curve = {"eps": eps, "robust_accuracy": robust, "end": margins.end, "area_low": low}
        measure(f"security_curve_{norm}", high, curve)
        measure(f"margin_consistency_{norm}", *consistency(clean, margins))
        if norm == info["norm"]:
            for name, found in brittle_inputs(clean, margins, float(info["eps"])).items():
                measure(name, *found)
            measure("optimality", *optimality_of_run(info, alike, margins))
        place = {int(sample): i for i, sample in enumerate(margins.sample_id)}
        ends = np.minimum(margins.smallest, margins.attacked).tolist()
        censored = (margins.censored | np.isinf(margins.smallest)).tolist()
        at = [place.get(sample) for sample in sample_ids]
        columns[f"input_margin_{norm}"] = [None if i is None else ends[i] for i in at]
        columns[f"censored_{norm}"] = [None if i is None else censored[i] for i in at]
    return measures, columns


def is_distance(measure: Measure) -> bool:
    """Whether a measure is one of `measure_distances`."""
    return measure.name.startswith(OF_INPUT_MARGINS)


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
