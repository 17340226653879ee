"""Robust accuracy against the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robbench.analysis.figure_data import curves
from robbench.analysis.plots.lines import Line, Plotted, training_of
from robbench.analysis.plots.scope import about, one_scope
from robbench.analysis.series import Series
from robbench.core.corruptions import budget_of
from robbench.store.run import Run


def security_curves(runs: Sequence[Run], *, over_seeds: bool = False) -> Plotted:
    """Robust accuracy in [0,1] over eps with Wilson intervals, from clean accuracy at 0 on.

    Of runs with a target the share that does not reach it, from that of the clean inputs on. A
    point at each budget that was attacked; of a run without a budget a step at the size of each
    sample's smallest perturbation. Raises UserError for runs in several norms or on other data.
    """
    lines = curve_lines(one_scope(runs), over_seeds=over_seeds)
    target = runs[0].info["target"]
    kept = "Robust accuracy" if target is None else f"Share not predicted as the target {target}"
    return Plotted(
        "curves",
        lines,
        "eps",
        "robust_accuracy",
        about(f"{kept} against the {budget_of(runs[0].info['norm'])}", runs),
        band="95 % Wilson intervals",
        norm=runs[0].info["norm"],
    )


def curve_lines(series: Sequence[Series], *, over_seeds: bool = False) -> list[Line]:
    """The security curves of series of one norm; for a mean over seeds with their training."""
    return [
        Line(
            one.name,
            np.array(curve.eps),
            np.array(curve.rate),
            np.array(curve.low),
            np.array(curve.high),
            count=one.runs[0].info["n_samples"],
            place=one.place,
            dash=one.attack_place,
            steps=curve.steps,
            training=training_of(one.runs[0].info) if over_seeds else None,
        )
        for one in series
        for curve in curves(one)
    ]
