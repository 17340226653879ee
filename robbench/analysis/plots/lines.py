"""The lines of a figure as plain numbers, each a run's or the mean over training seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from robbench.analysis.seeds import label, recipe, seeds
from robbench.analysis.series import Floats
from robbench.core.errors import UserError

MOST_LINES = 8
"""Of a panel: as many as there are colours that can be distinguished."""
MOST_POINTS = 400
"""Of a step function: more than a column is wide in points of print."""


_WHOLE = ("epoch", "run", "direction", "queries")


@dataclasses.dataclass(frozen=True)
class Training:
    """What a line's model was trained by: `recipe` is all settings but the seed."""

    model: str
    loss: str
    seed: int
    recipe: str


@dataclasses.dataclass(frozen=True)
class Line:
    """y over x, both [n], with a band from low to high [n], NaN where there is none.

    steps: y holds from each x up to the next; else it is known at each x only. rate: y is in [0,1],
    and so is its band. panel: the part of the figure it is in. place, dash: numbers of the
    model, and of what else tells lines apart.
    count: how many samples or seeds it rests on, None where that is not known.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    count: int | None
    panel: str = ""
    place: int = 0
    dash: int = 0
    steps: bool = False
    rate: bool = True
    training: Training | None = None


@dataclasses.dataclass(frozen=True)
class Plotted:
    """What a figure shows: lines, the names of their numbers, and what the caption has to say.

    panel: name of the column that says in which panel a line is, empty for one panel. about: what
    all lines share. band: what the bands are. over_seeds: whether a line is a mean over seeds.
    norm: of x, where that is a budget. warnings: what to know before believing the numbers.
    """

    kind: str
    lines: Sequence[Line]
    x: str
    y: str
    about: str
    band: str = ""
    panel: str = ""
    over_seeds: bool = False
    norm: str = ""
    warnings: Sequence[str] = ()

    @property
    def caption(self) -> str:
        """What a reader of the figure has to know, in one sentence."""
        banded = any(bool(np.isfinite(line.low).any()) for line in self.lines)
        names = {line.name for line in self.lines}
        of = f" of {names.pop()}" if len(names) == 1 and not self.over_seeds else ""
        return f"{self.about}{of}{f'; bands: {self.band}' if banded else ''}."

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every number that is drawn: a row for each point of each line."""
        for line in self.lines:
            where = {"line": line.name} | ({self.panel: line.panel} if self.panel else {})
            what = "n_seeds" if self.over_seeds else "n_samples"
            counted = {} if line.count is None else {what: line.count}
            for x, y, low, high in zip(line.x, line.y, line.low, line.high, strict=True):
                yield {
                    **where,
                    self.x: int(x) if self.x in _WHOLE else float(x),
                    self.y: float(y),
                    "low": None if math.isnan(low) else float(low),
                    "high": None if math.isnan(high) else float(high),
                    **counted,
                }


def training_of(info: Mapping[str, Any]) -> Training:
    """How the model of a row of the runs table was trained.

    Raises UserError where it does not say.
    """
    return Training(info["model"], info["loss"], info["train_seed"], recipe(info))


def require_few(plotted: Plotted) -> Plotted:
    """What is drawn, unless that is nothing or more than can be distinguished: then UserError."""
    if not any(len(line.x) for line in plotted.lines):
        raise UserError(f"nothing to draw: no {plotted.y} of these runs is known")
    for panel in dict.fromkeys(line.panel for line in plotted.lines):
        if (n := sum(line.panel == panel for line in plotted.lines)) > MOST_LINES:
            raise UserError(
                f"{n} lines in one figure cannot be distinguished: name at most "
                f"{MOST_LINES} models, choose with --where, or draw training seeds as one line "
                "with --over-seeds"
            )
    return plotted


def mean_over_seeds(plotted: Plotted) -> Plotted:
    """The same with one line for the training seeds of a recipe: their mean.

    The band is one sample standard deviation to each side, of rates within [0,1]; NaN for one seed.
    Steps are averaged between all x of the seeds, other lines at the x that all seeds have. Raises
    UserError where two lines are of one recipe and seed, and where seeds share no x.
    """
    groups: dict[tuple[str, int, str], list[Line]] = {}
    for line in plotted.lines:
        assert line.training is not None
        groups.setdefault((line.panel, line.dash, line.training.recipe), []).append(line)
    recipes = list(dict.fromkeys(recipe for _, _, recipe in groups))
    lines = [
        dataclasses.replace(_mean(group), place=recipes.index(recipe))
        for (_, _, recipe), group in groups.items()
    ]
    return dataclasses.replace(
        plotted,
        lines=lines,
        about=f"{plotted.about}; means over training seeds",
        band="one standard deviation over the seeds",
        over_seeds=True,
    )


def _mean(lines: Sequence[Line]) -> Line:
    first, trainings = lines[0], [line.training for line in lines if line.training]
    if len({one.seed for one in trainings}) < len(trainings):
        raise UserError(
            f"{first.name}: two runs of one recipe and seed; name the ones you mean, or choose "
            "with --where"
        )
    join = np.union1d if first.steps else np.intersect1d
    x = reduce(join, [line.x for line in lines])
    if not len(x):
        raise UserError(f"the seeds of {first.name} have nothing in common: attack all alike")
    y = np.stack([_at(line, x) for line in lines])
    mean = y.mean(0)
    spread = y.std(0, ddof=1) if len(lines) > 1 else np.full(len(x), math.nan)
    assert first.training is not None
    low, high = mean - spread, mean + spread
    if first.rate:
        low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    suffix = first.name.removeprefix(first.training.model)
    names = [one.model for one in trainings]
    name = label(names, trainings[0].loss) + seeds(len(names)) + suffix
    return thinned(
        dataclasses.replace(first, name=name, x=x, y=mean, low=low, high=high, count=len(lines))
    )


def _at(line: Line, x: Floats) -> Floats:
    """A line's y at these x, each among its own unless it has steps; a share is 0 before them."""
    if not len(line.x):
        return np.zeros(len(x))
    places = np.searchsorted(line.x, x, side="right") - 1
    return np.where(places < 0, 0.0, line.y[places])


def thinned(line: Line) -> Line:
    """A line of at most MOST_POINTS points, its ends among them; each that stays is exact."""
    if len(line.x) <= MOST_POINTS:
        return line
    kept = np.unique(np.linspace(0, len(line.x) - 1, MOST_POINTS).round().astype(int))
    x, y, low, high = (values[kept] for values in (line.x, line.y, line.low, line.high))
    return dataclasses.replace(line, x=x, y=y, low=low, high=high)
