"""Runs side by side, from their sample rows, each paired with the first comparable one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robbench.analysis import audit_remarks
from robbench.analysis.checkpoints import COLUMNS as LAST
from robbench.analysis.claims import with_contradictions
from robbench.analysis.comparable import Difference, differences
from robbench.analysis.join import common
from robbench.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from robbench.analysis.summary import MARGINS, column, summarise
from robbench.core.errors import UserError
from robbench.statistics.proportions import holm, mcnemar_exact
from robbench.statistics.ranking import best_of
from robbench.store.answers import same_answers
from robbench.store.run import Run, tags_of
from robbench.store.settings import settings

COLUMNS = ("sample_id", *SUMMARY_COLUMNS)
"""The sample columns that `compare` needs: give them to `read_run`."""

_FACTS = (
    "model",
    "model_hash",
    "loss",
    "train_seed",
    "data",
    "split",
    "threat",
    "target",
    "norm",
    "eps",
    "attack",
    "max_time_s",
    "max_queries",
    "run_id",
)
_SETTINGS = ("precision", "seed", "subset")
_MEASURED = (
    "n_samples",
    "n_robust",
    "clean_accuracy",
    "clean_accuracy_low",
    "clean_accuracy_high",
    "robust_accuracy",
    "robust_accuracy_low",
    "robust_accuracy_high",
    "adversarial_ratio",
    *MARGINS,
    "n_forward",
    "n_backward",
    "n_unconfirmed",
    "n_error",
    "n_unfinished",
    "robust_accuracy_floor",
    *audit_remarks.COLUMNS[1:],
    "clean_rejection_rate",
    "adv_rejection_rate",
)
NOTHING_IN_COMMON = "nothing to pair: no sample in common"
WITHOUT_BUDGET = "without a budget there is no robust accuracy to pair"
_OVER_SEEDS = dict.fromkeys(("n_seeds", "clean_accuracy_sd", "robust_accuracy_sd"))
"""What only a row over training seeds has, see `seeds.py`."""
_UNPAIRED = dict.fromkeys(
    ("baseline", "n_common", "robust_difference", "won", "lost", "mcnemar_p", "t_test_p", "p_holm")
)


def compare(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row per run, in the given order.

    Rates are in [0,1], margins in logits, queries are sample evaluations.

    A run is paired, sample by sample, with the first run before it on the same data and split under
    the same threat model: `baseline` (its run id), n_common samples, robust_difference (robust
    accuracy on them minus the baseline's, in [-1,1]), won and lost (samples robust only here, only
    there), mcnemar_p, and p_holm, corrected for all runs with this baseline. These are None when
    there is nothing to pair; `note` says why, or a warning about the pair.

    settings: in what a row differs from the others on its data under its threat model and attack,
    such as `bf16`, or None. best: of the runs alike in all of that, in attack and limits, the one
    with the highest robust accuracy, if the test tells it from each other one (Holm, over all their
    pairs) and it finished every sample. n_seeds, *_sd and t_test_p are None: a row is a run, see
    `seeds.py`; differs is empty, for the caller to mark what a table shows on request. Raises
    UserError for no run.
    """
    if not runs:
        raise UserError("no runs to compare")
    first: list[int] = []
    rows: list[dict[str, Any]] = []
    verdicts = [_verdicts(run) for run in runs]
    apart = settings([run.info for run in runs])
    for i, run in enumerate(runs):
        info, endless = run.info, math.isinf(run.info["eps"])
        summary = summarise(run.samples, budget=not endless)
        baseline = (
            None
            if endless
            else next((other for other in first if _pairs(info, runs[other].info)), None)
        )
        rows.append(
            {name: info[name] for name in (*_FACTS, *_SETTINGS, "audit_attack")}
            | {"settings": apart[i], "model_outputs": info.get("model_outputs")}
            | {name: summary[name] for name in _MEASURED}
            | {
                "n_forward_per_sample": summary["n_forward"] / summary["n_samples"],
                "wall_s": info["wall_s"],
            }
            | {"distance_p50": info["distance_p50"], "flags": with_contradictions(run)}
            | (
                {**_UNPAIRED, "note": _why_unpaired(run, runs)}
                if baseline is None
                else _pair(run, runs[baseline], verdicts[i], verdicts[baseline])
            )
            | {
                "best": False,
                "differs": [],
                "tags": tags_of(info),
                "checks": None,
                "certified_accuracy": None,
                "certified_radius_p50": None,
                **dict.fromkeys(LAST),
                **_OVER_SEEDS,
            }
        )
        first += [i] if baseline is None and not endless else []
    for base in first:
        tested = [row for row in rows if row["baseline"] == runs[base].info["run_id"]]
        for row, p in zip(tested, holm([row["mcnemar_p"] for row in tested]), strict=True):
            row["p_holm"] = p
    _mark_best(runs, rows, verdicts)
    _note_old_weights(runs, rows)
    return rows


def _note_old_weights(runs: Sequence[Run], rows: Sequence[dict[str, Any]]) -> None:
    """A name that was trained again means the model of its latest run.

    The others get a note.
    """
    latest = {
        run.info["model"]: run.info for run in sorted(runs, key=lambda run: run.info["started_at"])
    }
    for run, row in zip(runs, rows, strict=True):
        newest = latest[run.info["model"]]
        read = run.info.get("model_outputs") == newest.get("model_outputs")
        other = "other weights or code than" if read else "outputs read otherwise than in"
        if run.info["model_hash"] != newest["model_hash"] or not same_answers(
            run.info["answers"], newest["answers"], ("made",)
        ):
            row["note"] = "; ".join(
                filter(
                    None,
                    [
                        row["note"],
                        f"{other} run {newest['run_id']} of that name",
                    ],
                )
            )


def on_common_samples(run: Run, other: Run) -> tuple[Run, Run]:
    """Both runs with the samples they share, in one order.

    The runs as they are where they have the same ones.
    """
    mine, theirs = (column(r.samples, "sample_id") for r in (run, other))
    if np.array_equal(mine, theirs):
        return run, other
    here, there = common(mine, theirs)
    return Run(run.info, run.samples.take(pa.array(here))), Run(
        other.info, other.samples.take(pa.array(there))
    )


def _differ(info: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Difference]:
    """What differs, by what it is about.

    What was read is of this schema, whatever it was.
    """
    return {found.about: found for found in differences(info, other) if found.about != "schema"}


def _pairs(info: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return not _differ(info, other).keys() & {"data", "split", "threat"}


def _why_unpaired(run: Run, runs: Sequence[Run]) -> str:
    if math.isinf(run.info["eps"]):
        return WITHOUT_BUDGET
    alike = [other for other in runs if _pairs(run.info, other.info)]
    return (
        "baseline"
        if len(alike) > 1
        else "nothing to pair: no other run has this data, split and threat"
    )


def _mark_best(
    runs: Sequence[Run], rows: Sequence[dict[str, Any]], verdicts: Sequence[_Verdicts]
) -> None:
    left = [i for i, row in enumerate(rows) if row["robust_accuracy"] is not None]
    while left:
        alike = [i for i in left if i == left[0] or not _differ(runs[left[0]].info, runs[i].info)]
        left = [i for i in left if i not in alike]

        def p_value(i: int, j: int, alike: Sequence[int] = alike) -> float:
            robust, reference = _joined(verdicts[alike[i]], verdicts[alike[j]])
            return mcnemar_exact(int((robust & ~reference).sum()), int((reference & ~robust).sum()))

        best = best_of([rows[i]["robust_accuracy"] for i in alike], p_value)
        if best is not None and not rows[alike[best]]["n_unfinished"]:
            rows[alike[best]]["best"] = True


_Verdicts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Sample ids [N], ascending, and whether each sample is robust [N]."""


def _verdicts(run: Run) -> _Verdicts:
    ids, robust = column(run.samples, "sample_id"), column(run.samples, "robust")
    order = np.argsort(ids)  # once, so that runs on the same samples need no join
    return ids[order], robust[order]


def _joined(run: _Verdicts, other: _Verdicts) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The verdicts of two runs on the samples they share, in one order."""
    here, there = common(run[0], other[0])
    return run[1][here], other[1][there]


def _pair(
    run: Run, baseline: Run, verdicts: _Verdicts, reference_verdicts: _Verdicts
) -> dict[str, Any]:
    """Join two runs by sample and count on which samples their verdicts differ."""
    mine, theirs = len(run.samples), len(baseline.samples)
    robust, reference = _joined(verdicts, reference_verdicts)
    n = len(robust)
    if n == 0:
        return {
            **_UNPAIRED,
            "note": f"{NOTHING_IN_COMMON} with {baseline.info['run_id']}",
        }
    won, lost = int((robust & ~reference).sum()), int((reference & ~robust).sum())
    remarks = []
    if n < max(mine, theirs):
        remarks.append(f"paired on the {n} samples in common of {mine} and {theirs}")
    differ = _differ(run.info, baseline.info)
    if run.info["attack"] != baseline.info["attack"]:
        remarks.append(f"the baseline was attacked by {baseline.info['attack']}")
    elif "attack" in differ:
        remarks.append(
            f"it and the baseline were attacked otherwise: {differ['attack'].mine} and "
            f"{differ['attack'].theirs}"
        )
    if "limits" in differ:
        remarks.append(f"the limits of the baseline were {differ['limits'].theirs}")
    remarks += audit_remarks.remarks(run.info, baseline.info)
    return {
        "baseline": baseline.info["run_id"],
        "n_common": n,
        "robust_difference": (won - lost) / n,
        "won": won,
        "lost": lost,
        "mcnemar_p": mcnemar_exact(won, lost),
        "t_test_p": None,  # of a row over training seeds
        "p_holm": None,  # known when all are paired
        "note": "; ".join(remarks) or None,
    }
