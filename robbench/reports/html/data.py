"""What a report is made from: runs, and the tables beside them.

Plain values and NumPy arrays; nothing here reads a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.certified import Proofs
from robbench.analysis.commands import Command
from robbench.analysis.compare import COLUMNS as COMPARED
from robbench.analysis.corrupted import under_corruptions
from robbench.analysis.seeds import recipe
from robbench.analysis.series import Series, series_by_facts
from robbench.reports.html.captions import ONE_SEED
from robbench.store.run import Run
from robbench.store.schema import DISTANCES

COLUMNS = (
    *COMPARED,
    *("sample_index", "label", "clean_pred", "adv_pred", "broken_by"),
    *DISTANCES,
)
"""The sample columns that a report needs."""

MEASURES = ("name", "points", "split", "class", "value", "detail")
CHECKS = ("check", "severity", "verdict", "figure", "threshold", "text", "evidence", "automatic")
"""The columns of these tables that a report needs."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A perturbation to show: images [C,H,W] in [0,1], class names, and its size."""

    run_id: str
    sample_id: int
    label: str
    clean_prediction: str
    worst_prediction: str
    norm: str
    size: float
    found_by: str
    clean: NDArray[np.float32]
    worst: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Training:
    """How a model came to be.

    epochs: rows of that table; command: the one that trained it, None if that is not known; starts:
    the commands of the models whose weights it began with, the first one first; code: the version
    of each part's code, as config.json has it.
    """

    epochs: Sequence[Mapping[str, Any]]
    command: Command | None
    starts: Sequence[Command] = ()
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    trainings: by model name; classes: the names of the classes by model name; measures and checks:
    rows of these tables by run id; examples and the reasons why there are none, one line each;
    digests: SHA-256 by the path of each table file, relative to the output folder; certified: what
    is proven of the samples by run id; over_seeds: whether a row is a recipe's mean over training
    seeds.
    """

    runs: Sequence[Run]
    trainings: Mapping[str, Training] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    measures: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    checks: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    examples: Sequence[Example] = ()
    no_examples: Sequence[str] = ()
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    command: str = ""
    over_seeds: bool = False
    certified: Mapping[str, Proofs] = dataclasses.field(default_factory=dict)

    @cached_property
    def corrupted(self) -> Sequence[dict[str, Any]]:
        """The means over corruptions, as `under_corruptions` has them; none over seeds."""
        return [] if self.over_seeds else under_corruptions(self.runs)

    def single(self, runs: Sequence[Run]) -> Sequence[Run]:
        """Those of the runs that are in no mean over corruptions, of which a model may have 75."""
        inside = {run_id for row in self.corrupted for run_id in row["run_ids"]}
        return [run for run in runs if run.info["run_id"] not in inside]

    def lines(self, runs: Sequence[Run]) -> dict[tuple[str, str, str], list[Series]]:
        """`series_by_facts` of the runs, without those of means: a model's place is among all."""
        single = {run.info["run_id"] for run in self.single(runs)}
        found = {
            key: [one for one in series if any(run.info["run_id"] in single for run in one.runs)]
            for key, series in series_by_facts(runs).items()
        }
        return {key: series for key, series in found.items() if series}

    @property
    def shown(self) -> Sequence[Run]:
        """The runs for figures of samples: over seeds those of the first model of each recipe."""
        if not self.over_seeds:
            return self.runs
        first: dict[str, str] = {}
        for run in self.runs:
            first.setdefault(recipe(run.info), run.info["model_hash"])
        return [run for run in self.runs if run.info["model_hash"] in first.values()]

    @property
    def one_seed(self) -> str:
        """What to say beside figures of `shown`; empty where these are all runs."""
        models = dict.fromkeys(run.info["model"] for run in self.shown)
        return ONE_SEED.format(models=", ".join(models)) if self.over_seeds else ""
