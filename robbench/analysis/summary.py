"""The numbers of one run, counted from its sample rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robbench.analysis.audited import AUDITED, audit_numbers
from robbench.core.errors import UserError
from robbench.core.status import NON_FINITE, UNCONFIRMED, UNFINISHED
from robbench.statistics.proportions import wilson

CI_LEVEL, CI_METHOD = 0.95, "wilson"

_REJECTED = ("clean_rejected", "adv_rejected")  # null of models that never reject
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
    *_REJECTED,
    AUDITED,
)
"""The sample columns that `summarise` needs."""

MARGINS = ("clean_margin_mean", "clean_margin_p50", "adv_margin_mean", "adv_margin_p50")
"""The logit margins of a run that a comparison shows."""


def summarise(
    samples: pa.Table | Sequence[Mapping[str, Any]], *, budget: bool = True
) -> dict[str, Any]:
    """Counts, rates with Wilson bounds, margins and queries of a run, as in the runs table.

    Rates are in [0,1] and have all samples as denominator, except attack_success_rate: newly broken
    samples among the clean-correct ones (None when there are none). Margins are statistics over the
    samples where they are finite, NaN when there is none; n_error says how many samples had a logit
    that is not. robust_accuracy_floor counts unfinished samples as adversarial;
    without a `budget` there is no robust accuracy (None). A robust sample has no worst margin where
    the attack does not report what it tried: then the mean is None, and a quantile too unless it is
    one of an adversarial sample. Rejection rates are those of models that may reject, else None.
    The numbers of an audit are None without one, see `audited.audit_numbers`. Raises UserError
    without any sample.
    """
    columns = {name: column(samples, name) for name in COLUMNS if name not in (*_REJECTED, AUDITED)}
    n = len(columns["robust"])
    if n == 0:
        raise UserError("no samples: there is nothing to summarise")
    correct, adversarial = (
        columns["clean_correct"].astype(bool),
        columns["adversarial"].astype(bool),
    )
    n_correct, n_adversarial = int(correct.sum()), int(adversarial.sum())
    robust = columns["robust"].astype(bool)
    n_robust = int(robust.sum())
    clean_low, clean_high = wilson(n_correct, n, CI_LEVEL)
    robust_low, robust_high = wilson(n_robust, n, CI_LEVEL)
    clean, worst = _finite(columns["clean_margin"]), _finite(columns["adv_margin"])
    unknown = n_unknown(samples)
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
        "robust_accuracy": n_robust / n if budget else None,
        "robust_accuracy_low": robust_low if budget else None,
        "robust_accuracy_high": robust_high if budget else None,
        "robust_accuracy_floor": int((robust & (columns["status"] != UNFINISHED)).sum()) / n
        if budget
        else None,
        "adversarial_ratio": n_adversarial / n,
        "attack_success_rate": int((adversarial & correct).sum()) / n_correct
        if n_correct
        else None,
        "ci_level": CI_LEVEL,
        "ci_method": CI_METHOD,
        "clean_margin_mean": _mean(clean),
        "clean_margin_p50": quantile(clean, 0.50),
        "adv_margin_mean": None if unknown else _mean(worst),
        "adv_margin_p05": quantile(worst, 0.05, unknown),
        "adv_margin_p50": quantile(worst, 0.50, unknown),
        "clean_pmargin_mean": _mean(_finite(columns["clean_pmargin"])),
        "adv_pmargin_mean": None if unknown else _mean(_finite(columns["adv_pmargin"])),
        "n_forward": int(columns["n_forward"].sum(dtype=np.int64)),
        "n_backward": int(columns["n_backward"].sum(dtype=np.int64)),
        "clean_rejection_rate": _rate(samples, "clean_rejected"),
        "adv_rejection_rate": _rate(samples, "adv_rejected"),
        **audit_numbers(_flags(samples, AUDITED), robust, columns["status"] == UNFINISHED),
    }


def _rate(samples: pa.Table | Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Share of samples where a column is true; None where it is null, or was not known yet."""
    values = _flags(samples, name)
    return None if values is None else sum(values) / len(values)


def _flags(samples: pa.Table | Sequence[Mapping[str, Any]], name: str) -> list[bool] | None:
    """A column of booleans; None where it is null, or was not known yet."""
    if not isinstance(samples, pa.Table):
        found = [row.get(name) for row in samples]
        return None if None in found else [bool(value) for value in found]
    unknown = name not in samples.column_names or samples[name].null_count
    return None if unknown else samples[name].to_pylist()


def column(samples: pa.Table | Sequence[Mapping[str, Any]], name: str) -> NDArray[Any]:
    """One column of sample rows, in either form, as an array [n].

    Null is NaN, and only numbers may be.
    """
    if not isinstance(samples, pa.Table):
        return np.array([math.nan if row[name] is None else row[name] for row in samples])
    values = samples[name]
    if values.null_count:
        values = values.fill_null(math.nan)
    # Not to_numpy(), which imports pandas (0.4 s); DLPack knows no packed booleans.
    if values.type == pa.bool_():
        return np.from_dlpack(values.cast(pa.uint8()).combine_chunks()).view(np.bool_)
    return np.from_dlpack(values.combine_chunks())


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    # The rows of a table are float32; rounding first makes a summary of rows equal that of the
    # table made from them.
    rounded = values.astype(np.float32)
    return rounded[np.isfinite(rounded)].astype(np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def n_unknown(samples: pa.Table | Sequence[Mapping[str, Any]]) -> int:
    """On how many samples the worst margin is not known."""
    if isinstance(samples, pa.Table):
        return int(samples["adv_margin"].null_count)
    return sum(row["adv_margin"] is None for row in samples)


def quantile(values: NDArray[np.float64], q: float, unknown: int = 0) -> float | None:
    """A quantile of `values` and of `unknown` more above 0; None where one of those decides."""
    if not unknown:
        return float(np.quantile(values, q)) if len(values) else float("nan")
    if math.ceil(q * (len(values) + unknown - 1)) >= int((values <= 0).sum()):
        return None
    return float(np.quantile([*values, *[0.0] * unknown], q))  # their place does not matter
