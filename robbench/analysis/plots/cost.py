"""What an attack had to spend: robust accuracy left against the queries of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robbench.analysis.budgets import smaller_budgets
from robbench.analysis.plots.lines import Line, Plotted, thinned, training_of
from robbench.analysis.plots.scope import about, one_scope
from robbench.analysis.series import Series, numbers
from robbench.core.errors import UserError
from robbench.statistics.proportions import wilson
from robbench.store.run import Run


def robustness_by_cost(runs: Sequence[Run], *, over_seeds: bool = False) -> Plotted:
    """The share of samples in [0,1] that no attack has broken with so many queries each.

    Queries are forwards and backwards of a sample until it was decided; the last value is robust
    accuracy. A warning says where they include those at smaller budgets. Raises UserError for
    several threat models, and for runs without a budget.
    """
    series = one_scope(runs, one_threat=True)
    if math.isinf(runs[0].info["eps"]):
        raise UserError(
            f"{runs[0].info['threat']} has no budget, so there is no robust accuracy to draw: "
            "choose runs with one, such as --where threat=linf:8/255"
        )
    return Plotted(
        "cost",
        [_left(one, over_seeds) for one in series],
        "queries",
        "robust_accuracy",
        about(f"Robust accuracy left against queries, {runs[0].info['threat']}", runs),
        band="95 % Wilson intervals",
        warnings=[
            f"{run.info['model']}, {run.info['threat']}: queries include those at the smaller "
            f"budgets of its run ({', '.join(smaller)}), which come first: attack "
            f"{run.info['threat']} alone for its own"
            for run in runs
            if (smaller := smaller_budgets(run.info))
        ],
    )


def _left(one: Series, over_seeds: bool) -> Line:
    run = one.runs[0]
    spent = numbers(run, "n_forward") + numbers(run, "n_backward")
    broken = np.sort(spent[numbers(run, "adversarial") > 0])
    x = np.unique([1.0, *broken, float(spent.max())])
    left = len(spent) - np.searchsorted(broken, x, side="right")
    ends = np.array([wilson(int(k), len(spent)) for k in left])
    return thinned(
        Line(
            one.name,
            x,
            left / len(spent),
            ends[:, 0],
            ends[:, 1],
            count=len(spent),
            place=one.place,
            dash=one.attack_place,
            steps=True,
            training=training_of(run.info) if over_seeds else None,
        )
    )
