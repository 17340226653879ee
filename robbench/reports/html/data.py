"""What a report is made from: runs, and what lies beside them.

Plain values and NumPy arrays; nothing here reads a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.commands import Command
from robbench.analysis.compare import COLUMNS as COMPARED
from robbench.store.run import Run

COLUMNS = (
    *COMPARED,
    *("sample_index", "label", "clean_pred", "adv_pred", "broken_by"),
    *("dist_linf", "dist_l2", "dist_l1", "dist_l0"),
)
"""The sample columns that a report needs."""

MEASURES = ("name", "points", "split", "class", "value", "detail")
CHECKS = ("check", "severity", "verdict", "figure", "threshold", "text", "evidence")
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
    """How a model was trained: its epochs, and the command, None if unknown."""

    epochs: Sequence[Mapping[str, Any]]
    command: Command | None


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    trainings: by model name; classes: the names of the classes by model name; measures and checks:
    rows of these tables by run id; examples and the reasons why there are none, one line each.
    """

    runs: Sequence[Run]
    trainings: Mapping[str, Training] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    measures: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    checks: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    examples: Sequence[Example] = ()
    no_examples: Sequence[str] = ()
    command: str = ""
