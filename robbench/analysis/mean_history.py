"""The histories of a model under many corruptions as one, of their mean. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from robbench.analysis.history import ROBUST, History, Step
from robbench.analysis.summary import CI_LEVEL
from robbench.core.corruptions import is_corruption
from robbench.statistics.proportions import wilson

_SAME = ("model", "data", "split", "data_hash", "subset")


def with_means(found: Sequence[History]) -> list[History]:
    """The histories, those of a model's corruptions on the same samples as that of their mean.

    Of its weights, the corruptions and severities that all of them have count, as of
    `under_corruptions`; where these are fewer than two, and of the others, each stays.
    """
    families: dict[tuple[Any, ...], list[History]] = {}
    for one in found:
        if is_corruption(one.info["norm"]) and one.measure == ROBUST:
            families.setdefault(tuple(one.info[name] for name in _SAME), []).append(one)
    means, inside = list[History](), set[int]()
    for family in families.values():
        weights = dict.fromkeys(step.info["model_hash"] for one in family for step in one.steps)
        by_weights = [{step.info["model_hash"]: step for step in one.steps} for one in family]
        shared = [n for n, steps in enumerate(by_weights) if weights.keys() <= steps.keys()]
        if len(shared) > 1:
            older = max(family[n].older for n in shared)
            means.append(_mean(list(weights), [by_weights[n] for n in shared], older))
            inside |= {id(family[n]) for n in shared}
    return [one for one in found if id(one) not in inside] + means


def _mean(weights: Sequence[str], family: Sequence[Mapping[str, Step]], older: int) -> History:
    """family: of each corruption the latest step by weights; older: runs left out of each."""
    steps = list[Step]()
    for code in sorted(weights, key=lambda code: family[0][code].info["started_at"]):
        mine = [each[code] for each in family]
        value, n = fmean(step.value for step in mine), mine[0].n
        worst = min(mine, key=lambda step: step.value)
        low, high = wilson(value * n, n, CI_LEVEL)
        change = value - steps[-1].value if steps else None
        lowest = (worst.value, str(worst.info["threat"]))
        steps.append(Step(mine[0].info, n, value, low, high, change, worst=lowest))
    threats = [str(each[weights[0]].info["threat"]) for each in family]
    return History(ROBUST, steps, [], steps[0].n, older, threats=threats)
