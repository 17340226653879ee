"""Distributions of logit margins, at the input and at the worst point found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robbench.analysis.plots.lines import Line, Plotted, thinned, training_of
from robbench.analysis.plots.scope import about, one_scope
from robbench.analysis.series import Series, numbers
from robbench.analysis.summary import column
from robbench.store.run import Run


def logit_margins(runs: Sequence[Run], *, over_seeds: bool = False) -> Plotted:
    """The share of samples in [0,1] whose logit margin is at most x, clean and worst.

    At 0 that is the share of misclassified samples. Samples whose margin is not known count in the
    whole: as larger than every known one, or smaller where they are misclassified.
    Raises UserError for several threat models.
    """
    series = one_scope(runs, one_threat=True)
    lines = [
        _distribution(one, name, panel, over_seeds)
        for panel, name in (("clean", "clean_margin"), ("worst", "adv_margin"))
        for one in series
    ]
    return Plotted(
        "margins",
        lines,
        "margin",
        "share",
        about(f"Logit margins under {runs[0].info['threat']}", runs),
        panel="input",
    )


def _distribution(one: Series, name: str, panel: str, over_seeds: bool) -> Line:
    run = one.runs[0]
    values, wrong = numbers(run, name), column(run.samples, "adversarial").astype(bool)
    if panel == "clean":
        wrong = ~column(run.samples, "clean_correct").astype(bool)
    known = np.where(np.isnan(values), np.where(wrong, -math.inf, math.inf), values)
    x, counts = np.unique(known, return_counts=True)
    share = counts.cumsum() / len(values)
    x, share = x[np.isfinite(x)], share[np.isfinite(x)]
    nothing = np.full(len(x), math.nan)
    return thinned(
        Line(
            one.name,
            x,
            share,
            nothing,
            nothing,
            count=len(values),
            panel=panel,
            place=one.place,
            dash=one.attack_place,
            steps=True,
            training=training_of(run.info) if over_seeds else None,
        )
    )
