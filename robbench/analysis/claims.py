"""What a run's row claims against what its samples say. Results are counted from the samples."""

from __future__ import annotations

import json
import math
from statistics import median
from typing import Any

import numpy as np

from robbench.analysis.summary import column, summarise
from robbench.core.corruptions import is_corruption
from robbench.store.run import Run

_RATES = ("clean_accuracy", "robust_accuracy", "adversarial_ratio")
_MOST_NAMED = 3


def with_contradictions(run: Run) -> list[dict[str, Any]]:
    """The flags of a run (`name`, `text`), and one if its row contradicts its samples.

    `run` has the sample columns of `summary.COLUMNS`.
    """
    known = json.loads(run.info["flags"] or "[]")
    return [*known, *({"name": "edited", "text": text} for text in contradictions(run))]


def contradictions(run: Run) -> list[str]:
    """A text if the run's row does not follow from its samples, and one if these cannot be.

    Rates are compared, then all else that `summarise` counts, and of a run without a budget the
    median distance where its samples have the column. What files of an older schema lack is not.
    """
    counted = summarise(run.samples, budget=math.isfinite(run.info["eps"]))
    wrong = [
        f"{name.replace('_', ' ')} {_percent(run.info[name])} "
        f"(its samples: {_percent(counted[name])})"
        for name in _RATES
        if not _same(run.info[name], counted[name])
    ]
    if not wrong:
        numbers = counted | distance(run)
        wrong = [
            f"{name} {_number(run.info[name])} (its samples: {_number(number)})"
            for name, number in numbers.items()
            if not _same(run.info.get(name), number)
        ]
    odd = _impossible(run)
    if not wrong:
        return odd
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    return [
        f"the row of the run claims {', '.join(wrong[:_MOST_NAMED])}{more}: a file was changed "
        "after the attack; the numbers shown are those of the samples",
        *odd,
    ]


def _impossible(run: Run) -> list[str]:
    """Samples that no attack leaves: it writes none that is adversarial and robust, or neither."""
    correct, adversarial, robust = (
        column(run.samples, name).astype(bool)
        for name in ("clean_correct", "adversarial", "robust")
    )
    # Under a target a mistake is no success; a corruption is judged apart from the clean input.
    apart = run.info["target"] is not None or is_corruption(run.info["norm"])
    missed = robust & ~correct & (not apart)
    n = int(((adversarial == robust) | missed).sum())
    if not n:
        return []
    return [
        "samples contradict themselves, as adversarial and robust, neither, or robust though "
        f"misclassified without an attack: {n}; a file was changed after the attack"
    ]


def distance(run: Run) -> dict[str, float]:
    """`distance_p50` of a run without a budget, from its samples: inf where none was found.

    Nothing where the samples lack the column, or there is a budget.
    """
    name = f"dist_{run.info['norm']}"
    if math.isfinite(run.info["eps"]) or name not in run.samples.column_names:
        return {}
    sizes = column(run.samples, name)
    found = column(run.samples, "adversarial").astype(bool)
    return {"distance_p50": median(np.where(found, sizes, math.inf).tolist())}


def _same(claimed: Any, counted: Any) -> bool:
    if claimed is None or counted is None:  # one of the two does not have it
        return True
    if not isinstance(claimed, float) or not isinstance(counted, float):
        return bool(claimed == counted)
    return math.isclose(claimed, counted, rel_tol=1e-6, abs_tol=1e-9) or (
        math.isnan(claimed) and math.isnan(counted)
    )


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
