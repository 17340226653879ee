"""Models under corruptions: the mean over all of them, the worst one, and all at once.

Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.summary import CI_LEVEL, column
from robbench.core.corruptions import PREFIX, is_corruption
from robbench.statistics.bootstrap import over_seeds
from robbench.statistics.proportions import wilson
from robbench.store.find import STOPPED_EARLY
from robbench.store.run import Run

_PLACE = ("data", "split", "data_hash", "subset")
_MODEL = ("model", "model_hash", "seed")


def under_corruptions(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row per model that was run under at least two corruptions or severities.

    Of models on the same samples only the threat models that all of them have count: `threats`;
    where these are fewer than two, each model is alone, with all of its own.
    mean_accuracy: over these, each counting alike; its interval is that of a proportion of the
    samples, which is wide enough however alike the corruptions are. worst_threat: where the
    accuracy is lowest. all_accuracy: the share of samples that are right under every one.
    difference: of the mean to that of the first model, paired by sample, with Student's t interval;
    None of the first. corruptions: by name the mean over its severities. Rates are in [0,1];
    run_ids: of the runs that a row is made of.
    """
    places: dict[tuple[Any, ...], dict[tuple[Any, ...], dict[str, Run]]] = {}
    for run in runs:
        if not is_corruption(run.info["norm"]) or run.info["status"] == STOPPED_EARLY:
            continue
        place, model = (tuple(run.info[name] for name in names) for names in (_PLACE, _MODEL))
        places.setdefault(place, {}).setdefault(model, {}).setdefault(run.info["threat"], run)
    several = [[each for each in m.values() if len(each) > 1] for m in places.values()]
    return [row for models in several if models for row in _rows(models)]


def _rows(models: Sequence[Mapping[str, Run]]) -> list[dict[str, Any]]:
    """Of models on the same samples, each with its run under each threat model."""
    shared = [threat for threat in models[0] if all(threat in each for each in models)]
    if len(shared) < 2:
        return [row for each in models for row in _rows([each])]
    first: NDArray[np.float64] | None = None
    rows = []
    for runs in models:
        right = np.stack([_right(runs[threat]) for threat in shared])
        share = right.mean(0)
        rows.append(_row(runs, shared, right) | _difference(share, first))
        first = share if first is None else first
    return rows


def _right(run: Run) -> NDArray[np.bool_]:
    """Whether each sample is right when corrupted, in the order of their ids."""
    order = np.argsort(column(run.samples, "sample_id"))
    found: NDArray[np.bool_] = column(run.samples, "robust").astype(bool)[order]
    return found


def _row(
    runs: Mapping[str, Run], threats: Sequence[str], right: NDArray[np.bool_]
) -> dict[str, Any]:
    chosen = [runs[threat] for threat in threats]
    info, n = chosen[0].info, right.shape[1]
    counts = right.sum(1)
    worst = int(counts.argmin())
    names: dict[str, list[int]] = {}
    for i, run in enumerate(chosen):
        names.setdefault(run.info["norm"].removeprefix(PREFIX), []).append(i)
    return {
        **{name: info[name] for name in ("model", "data", "split", "seed")},
        "n_samples": n,
        "threats": list(threats),
        "clean_accuracy": float(column(chosen[0].samples, "clean_correct").mean()),
        **_rate("mean", float(right.mean(0).sum()), n),
        "worst_threat": threats[worst],
        **_rate("worst", int(counts[worst]), n),
        **_rate("all", int(right.all(0).sum()), n),
        "corruptions": {name: float(right[here].mean()) for name, here in names.items()},
        "run_ids": [run.info["run_id"] for run in chosen],
    }


def _rate(name: str, right: float, n: int) -> dict[str, float]:
    low, high = wilson(right, n, CI_LEVEL)
    return {
        f"{name}_accuracy": right / n,
        f"{name}_accuracy_low": low,
        f"{name}_accuracy_high": high,
    }


def _difference(
    share: NDArray[np.float64], first: NDArray[np.float64] | None
) -> dict[str, float | None]:
    names = ("difference", "difference_low", "difference_high")
    if first is None:
        return dict.fromkeys(names)
    found = over_seeds((share - first).tolist(), CI_LEVEL)
    known = (None if math.isnan(end) else end for end in (found.low, found.high))
    return dict(zip(names, (found.value, *known), strict=True))
