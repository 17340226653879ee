"""The numbers of one run, counted from its sample rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.core.status import NON_FINITE, UNCONFIRMED, UNFINISHED
from robbench.results.statistics import wilson

CI_LEVEL = 0.95

COLUMNS = (
    "clean_correct",
    "adversarial",
    "robust",
    "status",
    "clean_margin",
    "adv_margin",
    "clean_pmargin",
    "adv_pmargin",
    "n_forward",
    "n_backward",
)
"""The sample columns that `summarise` needs."""


def summarise(samples: pa.Table | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, rates with Wilson bounds, margins and total queries of a run, under their names in the runs table.

    Rates are in [0,1] and have all samples as denominator, except attack_success_rate: newly broken samples among the
    clean-correct ones (None when there are none). Margins are statistics over the samples where they are finite, NaN when
    there is none; n_error says how many samples had a logit that is not. robust_accuracy_floor counts samples on which the
    budget ran out as fallen. Raises UserError without any sample.
    """
    columns = {name: column(samples, name) for name in COLUMNS}
    n = len(columns["robust"])
    if n == 0:
        raise UserError("no samples: there is nothing to summarise")
    correct, adversarial = columns["clean_correct"].astype(bool), columns["adversarial"].astype(bool)
    n_correct, n_adversarial = int(correct.sum()), int(adversarial.sum())
    n_robust = int(columns["robust"].astype(bool).sum())
    clean_low, clean_high = wilson(n_correct, n, CI_LEVEL)
    robust_low, robust_high = wilson(n_robust, n, CI_LEVEL)
    clean, worst = _finite(columns["clean_margin"]), _finite(columns["adv_margin"])
    return {
        "n_samples": n,
        "n_clean_correct": n_correct,
        "n_adversarial": n_adversarial,
        "n_robust": n_robust,
        "n_unconfirmed": int((columns["status"] == UNCONFIRMED).sum()),
        "n_error": int((columns["status"] == NON_FINITE).sum()),
        "n_unfinished": int((columns["status"] == UNFINISHED).sum()),
        "clean_accuracy": n_correct / n,
        "clean_accuracy_low": clean_low,
        "clean_accuracy_high": clean_high,
        "robust_accuracy": n_robust / n,
        "robust_accuracy_low": robust_low,
        "robust_accuracy_high": robust_high,
        "robust_accuracy_floor": int((columns["robust"].astype(bool) & (columns["status"] != UNFINISHED)).sum()) / n,
        "adversarial_ratio": n_adversarial / n,
        "attack_success_rate": int((adversarial & correct).sum()) / n_correct if n_correct else None,
        "ci_level": CI_LEVEL,
        "ci_method": "wilson",
        "clean_margin_mean": _mean(clean),
        "clean_margin_p50": _quantile(clean, 0.50),
        "adv_margin_mean": _mean(worst),
        "adv_margin_p05": _quantile(worst, 0.05),
        "adv_margin_p50": _quantile(worst, 0.50),
        "clean_pmargin_mean": _mean(_finite(columns["clean_pmargin"])),
        "adv_pmargin_mean": _mean(_finite(columns["adv_pmargin"])),
        "n_forward": int(columns["n_forward"].sum(dtype=np.int64)),
        "n_backward": int(columns["n_backward"].sum(dtype=np.int64)),
    }


def column(samples: pa.Table | Sequence[Mapping[str, Any]], name: str) -> NDArray[Any]:
    """One column without nulls of sample rows, in either form, as an array [n]."""
    if not isinstance(samples, pa.Table):
        return np.array([row[name] for row in samples])
    values = samples[name]
    # Not to_numpy(), which imports pandas (0.4 s); DLPack knows no packed booleans.
    if values.type == pa.bool_():
        return np.from_dlpack(values.cast(pa.uint8()).combine_chunks()).view(np.bool_)
    return np.from_dlpack(values.combine_chunks())


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    # The rows of a table are float32; rounding first makes a summary of rows equal that of the table made from them.
    rounded = values.astype(np.float32)
    return rounded[np.isfinite(rounded)].astype(np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")
