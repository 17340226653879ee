"""Optimality: how near an attack's distances come to the best known ones, from 0 to 1.

Cinà et al. 2025 (AttackBench), arXiv:2404.19460. Needs no torch.

With A(d) the area under robust accuracy as a function of the distance, from 0 to d_max, and A* that
of the best distances known of all attacks,

    optimality = 1 - (A - A*) / (c d_max - A*)

where c is the clean accuracy, so that c d_max is the area of an attack that finds nothing. As in
AttackBench, d_max is the largest finite one of the best distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robbench.analysis.input_margins import InputMargins, input_margins
from robbench.store.run import Run


def optimality(distances: ArrayLike, best: ArrayLike) -> float:
    """Of an attack's distances [n], given the best ones known [n]: in [0,1], 1 = none is better.

    A distance is the size of the smallest adversarial perturbation: 0 where the clean input is
    misclassified, inf where none was found. NaN where nothing can be lost: no best distance is
    above 0, or all that are so are equal. Raises ValueError for a distance below the best one, a
    negative one or NaN.
    """
    found, known = np.asarray(distances, float), np.asarray(best, float)
    if found.shape != known.shape or found.ndim != 1:
        raise ValueError(f"one distance per sample: {found.shape} and {known.shape} differ")
    if np.isnan(found).any() or not (known >= 0).all() or (found < known).any():
        raise ValueError("distances must be numbers, and no smaller than the best ones known")
    end = float(known[np.isfinite(known)].max(initial=0.0))
    least, nothing = area(known, end), float((known > 0).mean()) * end if len(known) else 0.0
    if not nothing > least:
        return math.nan
    return 1 - (area(found, end) - least) / (nothing - least)


def area(distances: NDArray[np.float64], end: float) -> float:
    """Area under robust accuracy, the share of distances above d, for d from 0 to `end`."""
    return float(np.minimum(distances, end).mean()) if len(distances) else math.nan


def optimality_of_run(
    info: Mapping[str, Any], runs: Sequence[Run], margins: InputMargins
) -> tuple[float | None, dict[str, Any]]:
    """A run's optimality in its own norm, and what it rests on; None with the reason.

    info: its row of the runs table; runs: all of the same weights; margins: what these found of its
    samples in its norm. Only the samples that another run attacked in this norm count: on others
    the run is the best by construction. There is none of a run inside a budget, where an attack
    stops at its first success.
    """
    others = [run for run in runs if run.info["run_id"] != info["run_id"]]
    rivals = input_margins(margins.sample_id, others).get(margins.norm)
    facing = [run for run in others if rivals and run.info["run_id"] in rivals.runs]
    detail: dict[str, Any] = {
        "other_runs": len(facing),
        "other_minimum_norm_runs": sum(
            math.isinf(run.info["eps"]) and run.info["norm"] == margins.norm for run in facing
        ),
    }
    own = [run for run in runs if run.info["run_id"] == info["run_id"]]
    if math.isfinite(info["eps"]):
        why = "inside a budget attacks stop at their first success"
        return None, detail | {"reason": f"{why}: attack with --threat {margins.norm}:inf"}
    if not own:
        return None, detail | {"reason": "the run seeks a target, not the nearest mistake"}
    if rivals is None:
        return None, detail | {"reason": f"no other run of these weights in {margins.norm}"}
    shared = np.isin(margins.sample_id, rivals.sample_id)
    found = input_margins(margins.sample_id[shared], own)[margins.norm].smallest
    best = margins.smallest[shared]
    value = optimality(found, best)
    detail |= {
        "compared": int(shared.sum()),
        "clean_accuracy": float((best > 0).mean()),
        "largest_distance": float(best[np.isfinite(best)].max(initial=0.0)),
        "not_found_by_any": int(np.isinf(best).sum()),
    }
    if math.isnan(value):
        return None, detail | {"reason": "all best known distances are equal"}
    return value, detail
