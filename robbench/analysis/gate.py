"""Did robustness drop by more than is tolerated? A check per tolerance, from two runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.comparable import differences
from robbench.analysis.gate_checks import (
    CLEAN,
    DISTANCE,
    MARGIN,
    ROBUST,
    GateCheck,
    Tolerances,
    class_checks,
    margin_check,
    rate_check,
)
from robbench.analysis.join import common
from robbench.analysis.summary import column, n_unknown
from robbench.core.errors import UserError
from robbench.store.run import Run

COLUMNS = ("sample_id", "label", "clean_correct", "robust", "adversarial", "adv_margin")
"""The sample columns that `judge` needs; without a budget also the distance in the norm."""


NoteName = Literal[
    "same-weights",
    "unfinished",
    "flag",
    "edited",
    "replayed",
    "audited-differently",
    "seeds",
    "trained-since",
    "out-of-time",
    "stopped-early",
    "fewer-runs",
    "unreadable",
    "unknown-run",
    "own-weights",
]


class Note(NamedTuple):
    """A warning about the runs behind a verdict: its name, and the facts it is worded with."""

    name: NoteName
    facts: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class GateFinding:
    """What a gate found.

    baseline and candidate: their rows of the runs table (of a run not written, what is known).
    seen of total: samples that were compared, of those the baseline has. notes: warnings. against:
    the rows of all runs it was held against, oldest first, where there are several; then baseline
    is the oldest.
    """

    checks: Sequence[GateCheck]
    baseline: Mapping[str, Any]
    candidate: Mapping[str, Any]
    tolerances: Tolerances
    seen: int
    total: int
    notes: Sequence[Note] = ()
    against: Sequence[Mapping[str, Any]] = ()

    @property
    def verdict(self) -> Literal["pass", "regression", "undecided"]:
        """What all checks say together: a regression in any is one.

        A pass takes all that must be shown, and any check.
        """
        decisions = {check.decision for check in self.checks}
        undecided = "undecided" in decisions or not self.checks
        return "regression" if "regression" in decisions else "undecided" if undecided else "pass"

    @property
    def passes_undecided(self) -> bool:
        """Whether nothing is decided, and a build passes nevertheless."""
        return self.verdict == "undecided" and self.tolerances.undecided_passes

    @property
    def exit_code(self) -> int:
        """What a build's command should end with: 0 for a pass, 1 for a regression, 4 for neither.

        Also 0 for neither where that passes.
        """
        if self.passes_undecided:
            return 0
        return {"pass": 0, "regression": 1, "undecided": 4}[self.verdict]


def require_comparable(baseline: dict[str, Any], candidate: dict[str, Any]) -> None:
    """Raise UserError, with the differences, unless two rows of the runs table are comparable."""
    if found := differences(baseline, candidate):
        raise UserError(
            f"run {candidate['run_id']} ({candidate['model']}) cannot be compared with the "
            f"baseline {baseline['run_id']} ({baseline['model']}): "
            f"{'; '.join(map(str, found))}. Attack both alike, or name another baseline"
        )


def judge(baseline: Run, candidate: Run, tolerances: Tolerances) -> list[GateCheck]:
    """The checks of two finished runs, joined by sample.

    Robust and clean accuracy always, judged where tolerated drops are.

    Of runs without a budget robust accuracy means nothing, and the margin is the distance to the
    nearest adversarial point. Raises UserError where the runs must not be compared or have no
    sample in common.
    """
    require_comparable(baseline.info, candidate.info)
    here, there = common(*(column(run.samples, "sample_id") for run in (baseline, candidate)))
    if len(here) == 0:
        raise UserError(
            f"run {candidate.info['run_id']} has no sample in common with the baseline "
            f"{baseline.info['run_id']}"
        )

    def pair(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return column(baseline.samples, name)[here], column(candidate.samples, name)[there]

    endless = math.isinf(baseline.info["eps"])
    margin = DISTANCE if endless else MARGIN
    if endless and (tolerances.margin is None or tolerances.per_class is not None):
        raise UserError(
            "runs without a budget have no robust accuracy, also not of a class: give the "
            "tolerated drop of the median distance "
            "(--max-margin-drop) alone"
        )
    robust, clean = pair("robust"), pair("clean_correct")
    checks = [] if endless else [rate_check(ROBUST, *robust, tolerances.robust, tolerances)]
    checks.append(rate_check(CLEAN, *clean, tolerances.clean, tolerances))
    if tolerances.margin is not None:
        if not endless and (n := max(n_unknown(run.samples) for run in (baseline, candidate))):
            raise UserError(
                f"the worst margin of {n} samples is not known, as their attack shows no points: "
                "leave out --max-margin-drop"
            )
        values = _distances(baseline, candidate, here, there) if endless else pair("adv_margin")
        checks.append(margin_check(margin, *values, tolerances.margin, tolerances))
    if tolerances.per_class is not None:
        checks += class_checks(pair("label")[0], *robust, tolerances)
    return checks


def _distances(
    baseline: Run, candidate: Run, here: NDArray[Any], there: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    return smallest_found(baseline)[here], smallest_found(candidate)[there]


def smallest_found(run: Run) -> NDArray[Any]:
    """Sizes [n] of the smallest perturbations found in the norm of a run, inf where none was."""
    sizes = run.samples[f"dist_{run.info['norm']}"].fill_null(math.inf).combine_chunks()
    found: NDArray[Any] = np.where(
        column(run.samples, "adversarial"), np.from_dlpack(sizes), math.inf
    )
    return found
