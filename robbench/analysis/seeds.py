"""Runs that differ only in their training seed as one row: the mean over seeds."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from robbench.analysis.checked import worst
from robbench.analysis.compare import WITHOUT_BUDGET
from robbench.analysis.summary import MARGINS
from robbench.core.errors import UserError
from robbench.core.spec import canonical_json
from robbench.statistics.bootstrap import over_seeds, over_seeds_difference
from robbench.statistics.proportions import holm
from robbench.statistics.ranking import best_of
from robbench.store.run import Run

_MEANS = (
    "robust_accuracy_floor",
    "robust_accuracy_audited",
    "audit_missed_high",
    "certified_accuracy",
    "certified_radius_p50",
    "n_robust",
    "clean_accuracy_last",
    "robust_accuracy_last",
    "clean_rejection_rate",
    "adv_rejection_rate",
    "adversarial_ratio",
    *MARGINS,
    "n_forward",
    "n_backward",
    "n_forward_per_sample",
    "wall_s",
)
_SUMS = (
    *("n_unconfirmed", "n_error", "n_unfinished"),
    *("n_survivors", "n_audited", "n_audit_broken"),
)
CLOSE = 0.01
"""About the largest difference of two models of one recipe: sqrt(2) times a spread of 0.006."""
_RATES = ("clean_accuracy", "robust_accuracy")


def over_training_seeds(
    runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row per recipe and attack, from runs and their rows of `compare`, with their keys.

    n_seeds is the number of seeds, train_seed None; n_samples is that of each. Rates, n_robust,
    margins and queries are means over seeds (of medians, where the name says so), as are bounds of
    audits where every seed has one. Counts of what went wrong and of audits are sums over the
    seeds, so at most n_seeds * n_samples. *_sd are standard deviations over seeds (n - 1 in the
    denominator; None for one seed), intervals Student's t over seeds, cut off at 0 and 1, and nan
    for one seed. A recipe is compared with the first one with the same data, threat model, attack
    and limits: robust_difference is the mean difference over the seeds in common, t_test_p the p
    value of the paired t test, p_holm the same corrected. These are None without two common seeds;
    `note` says why. Needs `train_config` in the runs. Raises UserError where a run does not say how
    its model was trained, and for two runs of one recipe and seed.
    """
    groups: dict[str, dict[int, Mapping[str, Any]]] = {}
    recipes: dict[str, str] = {}
    for run, row in zip(runs, rows, strict=True):
        key, recipe = _key(run)
        seeds = groups.setdefault(key, {})
        if row["train_seed"] in seeds:
            both = f"{seeds[row['train_seed']]['run_id']} and {row['run_id']}"
            raise UserError(
                f"runs {both} are of one recipe and seed {row['train_seed']}: name the one that "
                "you mean"
            )
        seeds[row["train_seed"]], recipes[key] = row, recipe
    # One name for a recipe in every table, also where one of its seeds is missing.
    names: dict[str, set[str]] = {}
    for key, per_seed in groups.items():
        names.setdefault(recipes[key], set()).update(row["model"] for row in per_seed.values())
    found = [
        _row(list(per_seed.values()), sorted(names[recipes[key]]))
        for key, per_seed in groups.items()
    ]
    tables: dict[str, list[int]] = {}
    for i, key in enumerate(groups):
        tables.setdefault(key.removesuffix(recipes[key]), []).append(i)
    endless = {i for i, row in enumerate(found) if row["robust_accuracy"] is None}
    values = [
        {} if i in endless else {seed: float(row["robust_accuracy"]) for seed, row in seeds.items()}
        for i, seeds in enumerate(groups.values())
    ]
    for i in endless:
        found[i]["note"] = WITHOUT_BUDGET
    for table in tables.values():
        if endless.intersection(table):
            continue
        _pair([found[i] for i in table], [values[i] for i in table])
    return found


def recipe(info: Mapping[str, Any]) -> str:
    """All that a model was trained by but the seed, of a row of the runs table.

    Raises UserError where the row does not say it.
    """
    trained = json.loads(info["train_config"]) if info["train_config"] else None
    if trained is None or info["train_seed"] is None:
        why = "its model was not trained by robbench, or the run is older than this"
        raise UserError(
            f"run {info['run_id']} of {info['model']} does not say how it was trained ({why}): "
            "attack it again with --force, or leave out --over-seeds"
        )
    return canonical_json([{**trained, "seed": None}, info["model_arch"]])


def between_seeds(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line where rows of `compare` have differences that another training seed may make.

    That is a pair of recipes with one seed each that differ by more than 0 and at most CLOSE.
    """
    recipes = {
        run.info["run_id"]: (recipe(run.info), run.info["train_seed"])
        for run in runs
        if run.info["train_config"] and run.info["train_seed"] is not None
    }
    counts = Counter(name for name, _ in set(recipes.values()))
    if max(counts.values(), default=0) > 1:
        return []
    close = any(
        recipes[row["run_id"]][0] != recipes[row["baseline"]][0]
        and 0 < abs(row["robust_difference"]) <= CLOSE
        for row in rows
        if row["run_id"] in recipes and row["baseline"] in recipes
    )
    if not close:
        return []
    return [
        "one training seed each: robust accuracy usually varies by 0.1 to 0.6 points between seeds "
        "(standard deviation), so differences of up to a point can be the seed's; train with more "
        "(--seed) and compare --over-seeds"
    ]


def _key(run: Run) -> tuple[str, str]:
    """What the runs of one group share, and the part of it that is the recipe, as its end."""
    info = run.info
    shared = ["data_hash", "split", "threat", "attack_params", "max_time_s", "max_queries"]
    end = recipe(info)
    return canonical_json([info[name] for name in shared]) + end, end


def _row(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    row = dict(rows[0]) | dict.fromkeys(
        (
            "n_common",
            "robust_difference",
            "won",
            "lost",
            "mcnemar_p",
            "t_test_p",
            "p_holm",
            "baseline",
        )
    )
    for name in _MEANS:
        row[name] = _mean([each[name] for each in rows])
    for name in _SUMS:
        known = [each[name] for each in rows if each[name] is not None]
        row[name] = sum(known) if len(known) == len(rows) else None
    for name in _RATES:
        if row[name] is None:
            continue  # without a budget, as in all rows of the group
        mean = over_seeds([each[name] for each in rows])
        row |= {
            name: mean.value,
            f"{name}_sd": stdev(each[name] for each in rows) if len(rows) > 1 else None,
            f"{name}_low": max(0.0, mean.low),
            f"{name}_high": min(1.0, mean.high),
        }
        if len(rows) == 1:
            row |= {f"{name}_low": math.nan, f"{name}_high": math.nan}
    audits = {each["audit_attack"] for each in rows}
    far = [each["distance_p50"] for each in rows]
    flags = {flag["name"]: flag for each in rows for flag in each["flags"]}
    return row | {
        "model": label(names, rows[0]["loss"]) + seeds(len(rows)),
        "run_id": "+".join(each["run_id"] for each in rows),
        "train_seed": None,
        "n_seeds": len(rows),
        "audit_attack": audits.pop() if len(audits) == 1 else None,
        "distance_p50": _mean(far),
        "flags": list(flags.values()),
        "settings": "; ".join(sorted({each["settings"] for each in rows if each["settings"]}))
        or None,
        "checks": worst([each["checks"] for each in rows]),
        "differs": sorted({name for each in rows for name in each["differs"]}),
        "best": False,
        "note": None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def label(names: Sequence[str], loss: str) -> str:
    """What the models' names have in common at their beginning, without a hanging `-s` or `-seed`.

    Else the loss.
    """
    common = os.path.commonprefix(names)  # noqa: RUF071 - of texts, not of paths
    if len(names) > 1:
        common = common.rstrip("-_.0123456789")
        for word in ("seed", "s"):
            if common.endswith((f"-{word}", f"_{word}", f".{word}")):
                common = common[: -len(word) - 1]
    return common or loss


def seeds(n: int) -> str:
    """The suffix of a recipe's name: ` (3 seeds)`."""
    return f" ({n} seed{'s' if n > 1 else ''})"


def _pair(rows: Sequence[dict[str, Any]], values: Sequence[Mapping[int, float]]) -> None:
    """Hold each recipe of a table against the first, and mark the best."""
    for row, mine in zip(rows[1:], values[1:], strict=True):
        common = sorted(mine.keys() & values[0].keys())
        row["baseline"] = rows[0]["run_id"]
        if len(common) < 2:
            row["note"] = "nothing to test: fewer than two training seeds in common with the first"
        elif len(common) < max(len(mine), len(values[0])):
            row["note"] = f"paired on the {len(common)} seeds in common"
        if common:
            difference = [mine[seed] - values[0][seed] for seed in common]
            row["robust_difference"] = math.fsum(difference) / len(common)
    if len(rows) > 1:
        rows[0]["note"] = "baseline"
    tests = [paired_t(mine, values[0]) for mine in values[1:]]
    tested = [(row, p) for row, p in zip(rows[1:], tests, strict=True) if p is not None]
    for (row, p), corrected in zip(tested, holm([p for _, p in tested]), strict=True):
        row |= {"t_test_p": p, "p_holm": corrected}

    def p_value(i: int, j: int) -> float:
        p = paired_t(values[i], values[j])
        return 1.0 if p is None else p

    best = best_of([row["robust_accuracy"] for row in rows], p_value)
    if best is not None and not rows[best]["n_unfinished"]:
        rows[best]["best"] = True


def paired_t(values: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """Two-sided p value in [0,1] of the paired t test over the seeds in common.

    None for fewer than two.

    Student (W. S. Gosset), "The probable error of a mean", Biometrika 6, 1908. Differences that are
    all alike give 1 where they are zero; else they would give 0, which two or three seeds cannot
    show: then there is no test either.
    """
    common = values.keys() & baseline.keys()
    if len(common) < 2:
        return None
    from scipy.special import stdtr

    n = len(common)
    estimate = over_seeds_difference(
        {seed: values[seed] for seed in common}, {seed: baseline[seed] for seed in common}
    )
    differences = [values[seed] - baseline[seed] for seed in common]
    spread = math.sqrt(
        math.fsum((each - estimate.value) ** 2 for each in differences) / (n - 1) / n
    )
    if spread <= 1e-12:
        return 1.0 if abs(estimate.value) <= 1e-12 else None
    return min(1.0, 2 * float(stdtr(n - 1, -abs(estimate.value) / spread)))
