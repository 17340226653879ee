"""The runs of models' names over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robbench.analysis.history import DISTANCE, history, measured_groups
from robbench.analysis.plots.lines import Line, Plotted
from robbench.analysis.plots.scope import about, one_scope
from robbench.core.errors import UserError
from robbench.store.run import Run


def over_time(runs: Sequence[Run], *, over_seeds: bool = False) -> Plotted:
    """Robust accuracy in [0,1] from run to run of a model's name, oldest first, with intervals.

    Of runs without a budget the median distance. Models with one run are left out, with a warning.
    Raises UserError for several threat models, with `over_seeds`, and where no model has two
    comparable runs.
    """
    if over_seeds:
        raise UserError(
            "a figure over time has a line for each name of a model: leave out --over-seeds"
        )
    one_scope(runs, one_threat=True)
    measured = measured_groups([run.info for run in runs])
    groups, measure = [group for group, _ in measured], measured[0][1]  # one threat, one measure
    several = [group for group in groups if len(group) > 1]
    if not several:
        raise UserError(
            "nothing to draw over time: no model here has two comparable runs; train it again "
            "under its name, and attack it as before"
        )
    models = list(dict.fromkeys(runs[group[0]].info["model"] for group in several))
    attacks = list(dict.fromkeys(runs[group[0]].info["attack"] for group in several))
    shown = [[runs[i] for i in group] for group in several]
    what = "Median distance" if measure == DISTANCE else "Robust accuracy"
    return Plotted(
        "history",
        [_line(one, measure, models, attacks if len(attacks) > 1 else []) for one in shown],
        "run",
        measure,
        about(
            f"{what} from run to run, {runs[0].info['threat']}",
            [run for one in shown for run in one],
        ),
        band="95 % intervals",
        warnings=[
            f"{runs[group[0]].info['model']}, {runs[group[0]].info['attack']}: one run alone is "
            "not drawn"
            for group in groups
            if len(group) == 1
        ],
    )


def _line(runs: Sequence[Run], measure: str, models: Sequence[str], attacks: Sequence[str]) -> Line:
    found, info = history(runs, measure), runs[0].info
    return Line(
        ", ".join([info["model"], *([info["attack"]] if attacks else [])]),
        np.arange(1.0, len(runs) + 1),
        np.array([step.value for step in found.steps]),
        np.array([step.low for step in found.steps]),
        np.array([step.high for step in found.steps]),
        count=found.joint,
        place=models.index(info["model"]),
        dash=attacks.index(info["attack"]) if attacks else 0,
        rate=measure != DISTANCE,
    )
