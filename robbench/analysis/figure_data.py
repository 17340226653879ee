"""The arrays behind the figures: security curves, histograms, input margins, accuracy by class.

NumPy only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis import input_margins as distances
from robbench.analysis.series import Floats, Series, numbers
from robbench.analysis.summary import column
from robbench.core.corruptions import size_norm
from robbench.statistics.proportions import wilson
from robbench.store.run import Run

MOST_STEPS, BINS = 120, 60


@dataclasses.dataclass(frozen=True)
class Curve:
    """Robust accuracy over eps with its interval, all [n], rates in [0,1].

    `steps`: constant between two eps, not sampled.
    """

    eps: list[float]
    rate: list[float]
    low: list[float]
    high: list[float]
    steps: bool


@dataclasses.dataclass(frozen=True)
class Margins:
    """Input margins of the samples of a model in one norm, see `analysis/input_margins.py`.

    smallest [n]: size of the smallest perturbation found, 0 for a sample that is wrong without one,
    inf for none up to what was attacked; censored: the share of samples for which attacks that ran
    to their end found none, in [0,1]; unfinished: the share of those for which one did not; end:
    the largest eps that was attacked, inf without a budget; sought: whether an attack looked for
    the smallest one.
    """

    name: str
    place: int
    smallest: Floats
    censored: float
    unfinished: float
    end: float
    sought: bool


def curves(series: Series) -> list[Curve]:
    """The security curves of the runs with a budget, from eps 0 on, and of the run without."""
    found = []
    if budgets := series.budgets:
        counted = [_unbroken(budgets[0]), *(_rate(run, "robust") for run in budgets)]
        rate, low, high = ([ends[i] for ends in counted] for i in range(3))
        eps = [0.0, *(run.info["eps"] for run in budgets)]
        found.append(Curve(eps, rate, low, high, steps=False))
    found += [_steps(run) for run in series.runs if math.isinf(run.info["eps"])]
    return found


def input_margins(series: Sequence[Series], runs: Sequence[Run] = ()) -> list[Margins]:
    """The input margins of each model among lines of one norm, by all of its runs together.

    `runs` may be in other norms too.
    """
    found = []
    for place in dict.fromkeys(one.place for one in series):
        mine = [run for one in series if one.place == place for run in one.runs]
        alike = [run for run in runs if run not in mine and _alike(run) == _alike(mine[0])]
        ids = np.unique(np.concatenate([column(run.samples, "sample_id") for run in mine]))
        margins = distances.input_margins(ids, [*mine, *alike])[mine[0].info["norm"]]
        none = margins.censored | np.isinf(margins.smallest)
        name = next(one.model for one in series if one.place == place)
        found.append(
            Margins(
                name,
                place,
                np.where(none, math.inf, margins.smallest),
                float((none & ~margins.unfinished).mean()),
                float((none & margins.unfinished).mean()),
                float(margins.attacked.max()),
                math.inf in margins.eps,
            )
        )
    return found


def _alike(run: Run) -> tuple[str, ...]:
    return tuple(str(run.info[name]) for name in ("data", "split", "model", "model_hash"))


def sizes(run: Run) -> Floats:
    """The size of each sample's adversarial perturbation in the run's own norm [n] (`size_norm`).

    0 where the clean input is adversarial itself, inf where none or no size is known.
    """
    size = numbers(run, f"dist_{size_norm(run.info['norm'])}")
    if run.info["target"] is None:
        size = np.where(numbers(run, "clean_correct") > 0, size, 0.0)
    # Rounding may have put it just outside of the budget it was found in.
    return np.where(
        (numbers(run, "adversarial") > 0) & ~np.isnan(size),
        np.minimum(size, run.info["eps"]),
        math.inf,
    )


def edges(values: Sequence[Floats], bins: int = BINS, low: float | None = None) -> Floats:
    """Common bin edges [bins+1] of several arrays, without the outermost half percent."""
    finite = np.concatenate([value[np.isfinite(value)] for value in values] or [np.zeros(0)])
    if not len(finite):
        return np.linspace(0.0, 1.0, bins + 1)
    ends = np.quantile(finite, (0.005, 0.995))
    start = float(ends[0]) if low is None else low
    return np.linspace(start, max(float(ends[1]), start + 1e-6 + abs(start) * 1e-6), bins + 1)


def shares(values: Floats, ends: Floats) -> list[float]:
    """The share of all values in each bin [bins], in [0,1].

    Values beyond the ends count in the outermost, others nowhere.
    """
    finite = np.clip(values[np.isfinite(values)], ends[0], ends[-1])
    counts, _ = np.histogram(finite, ends)
    return [float(count) / max(len(values), 1) for count in counts]


def by_class(run: Run, n_classes: int) -> tuple[list[float], list[int]]:
    """Robust accuracy in [0,1] (NaN without samples) and number of samples of each class."""
    labels = numbers(run, "label").astype(int)
    counts = np.bincount(labels, minlength=n_classes)
    robust = np.bincount(labels, weights=numbers(run, "robust"), minlength=n_classes)
    return [
        float(r) / c if c else math.nan for r, c in zip(robust, counts.tolist(), strict=True)
    ], counts.tolist()


def _steps(run: Run) -> Curve:
    """Every eps at which a sample falls, thinned to the eye's needs."""
    size, n = np.sort(sizes(run)), run.info["n_samples"]
    eps = np.unique(size[np.isfinite(size)])
    if len(eps) > MOST_STEPS:
        eps = eps[np.unique(np.linspace(0, len(eps) - 1, MOST_STEPS).round().astype(int))]
    eps = np.unique(np.append(0.0, eps))
    robust = n - np.searchsorted(size, eps, side="right")
    ends = [wilson(int(k), n) for k in robust]
    return Curve(
        eps.tolist(),
        (robust / n).tolist(),
        [low for low, _ in ends],
        [high for _, high in ends],
        steps=True,
    )


def _unbroken(run: Run) -> tuple[float, float, float]:
    """The share of a run's samples whose clean input is no success, with its Wilson interval."""
    if run.info["target"] is None:
        return _rate(run, "clean_correct")
    return _share(np.array([by != "clean" for by in run.samples["broken_by"].to_pylist()]))


def _rate(run: Run, name: str) -> tuple[float, float, float]:
    """The share of a run's samples for which a column is true, with its Wilson interval."""
    return _share(column(run.samples, name))


def _share(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values.mean()), *wilson(int(values.sum()), len(values))
