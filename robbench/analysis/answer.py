"""The answer of runs in one sentence: who keeps most, by how much, what speaks against it.

The words are in `reports/answer.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from robbench.analysis.checked import checked, speaks_against
from robbench.analysis.compare import compare
from robbench.analysis.seeds import over_training_seeds
from robbench.core.corruptions import is_corruption
from robbench.core.status import NOTICES
from robbench.store.run import Run
from robbench.threat.tolerance import same_budget

LEVEL = 0.05
"""A difference with a corrected p value above this may be chance."""

Checks = Mapping[str, Sequence[Mapping[str, Any]]]


class Doubt(NamedTuple):
    """A reason to doubt a row's robust accuracy.

    severity: `error` or `warning`; about: the name of a check, a flag or a count such as
    `unfinished`; text: what it says, None of a count.
    """

    severity: str
    row: Mapping[str, Any]
    about: str
    text: str | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the runs on one data set in one norm say, at the budget that most models share.

    top: the row of `compare` (or over seeds) with the highest robust accuracy, without a budget
    the largest median distance; other: the row it is compared with, None for a model alone: the
    first one, or where that is the top the next one. difference: robust accuracy of top minus
    other, in [-1,1]; p: Holm-corrected; both None where nothing could be paired. unchecked: rows of
    the runs table of those of these two that were not checked, None where nobody looked. n_checks:
    checks of both by verdict.
    """

    data: str
    split: str
    threat: str
    top: Mapping[str, Any]
    other: Mapping[str, Any] | None
    difference: float | None
    p: float | None
    n_models: int
    doubts: Sequence[Doubt]
    unchecked: Sequence[Mapping[str, Any]] | None
    n_checks: Mapping[str, int]

    @property
    def endless(self) -> bool:
        """Whether it speaks of runs without a budget."""
        return self.top["robust_accuracy"] is None


def answers(
    runs: Sequence[Run], *, over_seeds: bool = False, checks: Checks | None = None
) -> list[Answer]:
    """One answer for each data set, split, norm and target, in the order of the runs.

    Of budgets that as many models share the largest speaks, of attacks that as many models met the
    one that left least; of runs of the same weights the lowest, as each is an upper bound. Runs
    under corruptions are no budgets, and have none. `checks`
    are rows of the checks table by run id. Raises UserError as `over_training_seeds` does.
    """
    places: dict[tuple[Any, ...], list[Run]] = {}
    for run in (one for one in runs if not is_corruption(one.info["norm"])):
        place = tuple(run.info[name] for name in ("data", "split", "norm", "target"))
        places.setdefault(place, []).append(run)
    found = []
    for mine in places.values():
        chosen = _chosen(mine)
        rows = compare(chosen)
        if over_seeds:
            rows = over_training_seeds(chosen, rows)
        found.append(_answer(rows, {run.info["run_id"]: run.info for run in chosen}, checks))
    return found


def _chosen(runs: Sequence[Run]) -> list[Run]:
    """The runs to speak of: one budget, one attack, one run for each model."""
    groups: dict[tuple[Any, ...], dict[tuple[str, str], Run]] = {}
    for run in runs:
        info = run.info
        budgets = (key[0] for key in groups)
        eps = next((one for one in budgets if same_budget(one, info["eps"])), info["eps"])
        key = (eps, info["attack_params"], info["max_time_s"])
        models = groups.setdefault((*key, info["max_queries"], info["data_hash"]), {})
        model = info["model"], info["model_hash"]
        models[model] = min(models.get(model, run), run, key=_kept)

    def rank(key: tuple[Any, ...]) -> tuple[bool, int, float, float]:
        found = groups[key].values()
        return math.isfinite(key[0]), len(found), key[0], -sum(map(_kept, found)) / len(found)

    return list(groups[max(groups, key=rank)].values())


def _kept(run: Run) -> float:
    """Robust accuracy, without a budget the median distance."""
    name = "robust_accuracy" if math.isfinite(run.info["eps"]) else "distance_p50"
    value = run.info[name]
    return math.inf if value is None else float(value)


def _answer(
    rows: Sequence[Mapping[str, Any]],
    infos: Mapping[str, Mapping[str, Any]],
    checks: Checks | None,
) -> Answer:
    endless = rows[0]["robust_accuracy"] is None
    name = "distance_p50" if endless else "robust_accuracy"
    falling = sorted(rows, key=lambda row: -math.inf if row[name] is None else -row[name])
    top = falling[0]
    other, difference, p = None, None, None
    if len(rows) > 1:
        first = next((row for row in rows if row["run_id"] == top["baseline"]), None)
        other = first if first is not None else falling[1]
        sign, pair = (1, top) if first is not None else (-1, other)
        if pair["robust_difference"] is not None:
            difference, p = sign * pair["robust_difference"], pair["p_holm"]
    spoken = [row for row in (top, other) if row is not None]
    known = [_checks(row, checks or {}) for row in spoken]
    doubts = [
        doubt for row, found in zip(spoken, known, strict=True) for doubt in _doubts(row, found)
    ]
    return Answer(
        top["data"],
        top["split"],
        top["threat"],
        top,
        other,
        difference,
        p,
        len(rows),
        sorted(doubts, key=lambda doubt: doubt.severity != "error"),
        None
        if checks is None
        else [
            infos[run]
            for row in spoken
            for run in row["run_id"].split("+")
            if not checked(checks.get(run, ()))
        ],
        Counter(check["verdict"] for found in known for check in found),
    )


def _checks(row: Mapping[str, Any], checks: Checks) -> list[Mapping[str, Any]]:
    return [check for run in row["run_id"].split("+") for check in checks.get(run, ())]


def _doubts(row: Mapping[str, Any], checks: Sequence[Mapping[str, Any]]) -> Iterator[Doubt]:
    for name in ("unconfirmed", "error", "unfinished"):
        if row[f"n_{name}"]:
            yield Doubt("warning" if name == "unfinished" else "error", row, name, None)
    flags = row["flags"] or []
    for flag in json.loads(flags) if isinstance(flags, str) else flags:
        if flag["name"] in NOTICES:
            continue
        severity = "error" if flag["name"] == "edited" else "warning"
        yield Doubt(severity, row, flag["name"], flag["text"])
    for check in checks:
        if speaks_against(check):
            yield Doubt(check["severity"], row, f"check {check['check']}", check["text"])
