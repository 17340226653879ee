"""The runs of a model's name over time: their values, steps and change points. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.choose import choose
from robbench.analysis.comparable import COLUMNS as DECIDING
from robbench.analysis.comparable import differences
from robbench.analysis.gate import smallest_found
from robbench.analysis.join import common
from robbench.analysis.summary import CI_LEVEL, column
from robbench.core.errors import UserError, unknown
from robbench.statistics.bootstrap import paired_bootstrap
from robbench.statistics.change_points import change_points
from robbench.statistics.paired import drop_interval
from robbench.statistics.proportions import wilson
from robbench.store.index import require_rows
from robbench.store.row import in_threads
from robbench.store.run import Run, read_run
from robbench.store.schema import DISTANCES
from robbench.store.settings import settings
from robbench.store.store import Store

ROBUST, CLEAN, DISTANCE = MEASURES = ("robust_accuracy", "clean_accuracy", "median_distance")
SAMPLE_COLUMNS = ("sample_id", "robust", "clean_correct", "adversarial", *DISTANCES)
"""The sample columns that a history needs."""
ALPHA = 0.05
"""Probability that any change point is found where there is none."""
LAST = 50
"""Runs of a group that are shown where nothing else was said."""
_RESAMPLES = 999


@dataclasses.dataclass(frozen=True)
class Step:
    """A run in a history: its row of the runs table, and the value of the measure on n samples.

    low and high: 95 % interval. change: to the run before on the `paired` samples of both, with a
    paired 95 % interval; None of the first run and without such samples. settings: what tells the
    run from others of the group. worst: of a mean over corruptions the lowest value, and where.
    """

    info: Mapping[str, Any]
    n: int
    value: float
    low: float
    high: float
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    paired: int = 0
    settings: str | None = None
    worst: tuple[float, str] | None = None


@dataclasses.dataclass(frozen=True)
class Shift:
    """A change point: `run` is the number of the first run after it, the mean before and after.

    Rates are those of the samples that all runs have, as the test is.

    It is between the runs `first` and `last` (first < run <= last). p: corrected for all places.
    """

    run: int
    first: int
    last: int
    p: float
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class History:
    """Comparable runs of one model's name, oldest first.

    shifts: their change points, on the `joint` samples of all. older: how many earlier runs are
    left out. differs: in what the runs differ from those of the first history of the model.
    threats: the corruptions that each step is the mean of; empty for a history of runs.
    """

    measure: str
    steps: Sequence[Step]
    shifts: Sequence[Shift]
    joint: int
    older: int = 0
    differs: Sequence[str] = ()
    threats: Sequence[str] = ()

    @property
    def info(self) -> Mapping[str, Any]:
        """The row of the latest run, for what all runs share."""
        return self.steps[-1].info


def histories(
    store: Store,
    names: Sequence[str],
    *,
    where: Sequence[str] = (),
    measure: str | None = None,
    last: int | None = LAST,
    alpha: float = ALPHA,
) -> list[History]:
    """The histories of the runs that names and conditions select, of each the `last` runs.

    measure: one of MEASURES; None is robust accuracy, of runs without a budget the median distance.
    alpha: of the change points. Samples are read only of the runs that are shown. Raises UserError
    as `choose` and `read_run` do, and where no run has the measure.
    """
    if measure is not None and measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    paths = choose(store, names, where)
    rows = require_rows(paths)
    chosen = measured_groups(rows, measure)
    if not chosen:
        raise UserError(
            f"no run of these has {measure}: {ROBUST} takes a budget, {DISTANCE} runs without one"
        )
    firsts: dict[str, Mapping[str, Any]] = {}
    found = []
    for group, shown in chosen:
        first = firsts.setdefault(rows[group[0]]["model"], rows[group[0]])
        kept = group[-last:] if last else group
        runs = list(
            in_threads(lambda path: read_run(path, SAMPLE_COLUMNS), [paths[i] for i in kept])
        )
        differs = [str(one) for one in differences(first, rows[group[0]])]
        older = len(group) - len(kept)
        found.append(history(runs, shown, alpha, older=older, differs=differs))
    return found


def comparable_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Positions of the rows of the runs table that are of one model's name and comparable.

    Each group oldest first, and so the groups of a model, by their first run.
    """
    order = sorted(
        range(len(rows)), key=lambda i: (rows[i]["started_at"], rows[i]["eps"], rows[i]["run_id"])
    )
    groups: list[list[int]] = []
    known: dict[tuple[Any, ...], list[int]] = {}
    for i in order:
        key = (rows[i]["model"], *(rows[i][name] for name in DECIDING))
        if key not in known:
            like = (
                group
                for group in groups
                if rows[group[0]]["model"] == rows[i]["model"]
                and not differences(rows[group[0]], rows[i])
            )
            if (mine := next(like, None)) is None:
                groups.append(mine := [])
            known[key] = mine
        known[key].append(i)
    return sorted(groups, key=lambda group: str(rows[group[0]]["model"]))


def measured_groups(
    rows: Sequence[Mapping[str, Any]], asked: str | None = None
) -> list[tuple[list[int], str]]:
    """The comparable groups whose runs have the measure asked for, with the one to be shown."""
    groups = comparable_groups(rows)
    measures = (_measure_of(rows[group[0]], asked) for group in groups)
    return [(group, one) for group, one in zip(groups, measures, strict=True) if one is not None]


def _measure_of(info: Mapping[str, Any], asked: str | None) -> str | None:
    own = ROBUST if math.isfinite(info["eps"]) else DISTANCE
    return own if asked in (None, own) else CLEAN if asked == CLEAN else None


def history(
    runs: Sequence[Run],
    measure: str,
    alpha: float = ALPHA,
    *,
    older: int = 0,
    differs: Sequence[str] = (),
) -> History:
    """The history of comparable runs of one model's name, oldest first, with their samples."""
    values = [_values(run, measure) for run in runs]
    ids = [column(run.samples, "sample_id") for run in runs]
    apart = settings([run.info for run in runs], weights=False)
    steps = []
    for i, run in enumerate(runs):
        value, low, high = _estimate(values[i], measure)
        step = Step(run.info, len(ids[i]), value, low, high, settings=apart[i])
        if i:
            here, there = common(ids[i], ids[i - 1])
            step = _against(step, values[i][here], values[i - 1][there], measure)
        steps.append(step)
    verdicts = _verdicts(ids, values, measure)
    # Rates of the joint samples: where a run has others too, its own may change the other way.
    medians = [step.value for step in steps]
    shifts = _shifts(verdicts, medians if measure == DISTANCE else verdicts.mean(1).tolist(), alpha)
    return History(measure, steps, shifts, verdicts.shape[1], older, differs)


def _values(run: Run, measure: str) -> NDArray[Any]:
    """Of each sample [n]: whether it is right, or the size of the smallest perturbation found."""
    if measure == DISTANCE:
        return smallest_found(run)
    return column(run.samples, "robust" if measure == ROBUST else "clean_correct").astype(bool)


def _estimate(values: NDArray[Any], measure: str) -> tuple[float, float, float]:
    """The value of a measure and its 95 % interval."""
    if measure == DISTANCE:
        from scipy.stats import quantile_test

        found = quantile_test(values, p=0.5).confidence_interval(CI_LEVEL)
        return float(np.median(values)), float(found.low), float(found.high)
    return float(values.mean()), *wilson(int(values.sum()), len(values), CI_LEVEL)


def _against(step: Step, mine: NDArray[Any], before: NDArray[Any], measure: str) -> Step:
    """A step with its change, from the values [n] of the samples of both runs."""
    n = len(mine)
    if n == 0:
        return step
    if measure == DISTANCE:
        found = paired_bootstrap(mine, before, seed=0, level=CI_LEVEL, resamples=_RESAMPLES)
        change, low, high = found.value, found.low, found.high
    else:
        lost, won = int((before & ~mine).sum()), int((mine & ~before).sum())
        least, most = drop_interval(lost, won, n, (1 - CI_LEVEL) / 2)
        change, low, high = (won - lost) / n, -most, -least
    return dataclasses.replace(step, change=change, change_low=low, change_high=high, paired=n)


def _verdicts(
    ids: Sequence[NDArray[Any]], values: Sequence[NDArray[Any]], measure: str
) -> NDArray[np.bool_]:
    """Of the samples that all T runs have: whether each is right, [T,n].

    Of distances whether one is above the median of all of them; infinite, where that is.
    """
    joint = reduce(np.intersect1d, ids)
    found = np.array(
        [value[common(mine, joint)[0]] for mine, value in zip(ids, values, strict=True)]
    )
    if measure != DISTANCE or not found.size:
        return found.astype(bool)
    middle = np.median(found)
    above: NDArray[np.bool_] = np.isinf(found) if np.isinf(middle) else found > middle
    return above


def _shifts(verdicts: NDArray[np.bool_], values: Sequence[float], alpha: float) -> list[Shift]:
    """The change points, each with the mean of the values up to its neighbours."""
    found = change_points(verdicts, alpha)
    ends = [0, *(change.place for change in found), len(values)]
    return [
        Shift(
            change.place,
            change.first,
            change.last,
            change.p,
            float(np.mean(values[ends[i] : change.place])),
            float(np.mean(values[change.place : ends[i + 2]])),
        )
        for i, change in enumerate(found)
    ]
