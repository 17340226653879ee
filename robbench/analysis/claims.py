"""What a run's row claims against what its samples say. Results are counted from the samples."""

from __future__ import annotations

import json
import math
from typing import Any

from robbench.analysis.summary import summarise
from robbench.store.run import Run

_RATES = ("clean_accuracy", "robust_accuracy", "adversarial_ratio")
_COUNTS = ("n_clean_correct", "n_adversarial", "n_robust", "n_unfinished", "n_error")


def with_contradictions(run: Run) -> list[dict[str, Any]]:
    """The flags of a run (`name`, `text`), and one if its row contradicts its samples.

    `run` has the sample columns of `summary.COLUMNS`.
    """
    known = json.loads(run.info["flags"] or "[]")
    return [*known, *({"name": "edited", "text": text} for text in contradictions(run))]


def contradictions(run: Run) -> list[str]:
    """One text if the run's row does not follow from its samples, else none.

    Rates are compared, and the counts behind them. Files of an older schema may lack a column;
    what they lack is not compared.
    """
    counted = summarise(run.samples, budget=math.isfinite(run.info["eps"]))
    wrong = [
        f"{name.replace('_', ' ')} {_percent(run.info[name])} "
        f"(its samples: {_percent(counted[name])})"
        for name in _RATES
        if not _same(run.info[name], counted[name])
    ]
    wrong += [
        f"{name} {run.info[name]} (its samples: {counted[name]})"
        for name in ([] if wrong else _COUNTS)
        if run.info[name] is not None and run.info[name] != counted[name]
    ]
    if not wrong:
        return []
    return [
        f"the row of the run claims {', '.join(wrong)}: a file was changed after the attack; the "
        "numbers shown are those of the samples"
    ]


def _same(claimed: float | None, counted: float | None) -> bool:
    if claimed is None or counted is None:  # a rate that one of the two does not have
        return True
    return math.isclose(claimed, counted, abs_tol=1e-9)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
