"""What a comparison may lose before it counts as failed: `robust_accuracy:-1pp`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robbench.analysis.summary import MARGINS
from robbench.core.errors import UserError, unknown

Row = Mapping[str, Any]

RATES = ("clean_accuracy", "robust_accuracy", "robust_accuracy_floor", "adversarial_ratio")
METRICS = (
    *RATES,
    *MARGINS,
    "n_forward",
    "n_backward",
    "wall_s",
)
_ROUNDING = 1e-9  # relative: 0.29 - 0.28 must count as one point, not as more


@dataclass(frozen=True)
class Tolerance:
    """How far `metric` may fall or rise: `limit` >= 0 in points (pp), percent (%) or its units."""

    metric: str
    down: bool
    limit: float
    unit: str

    def failure(self, row: Row, baseline: Row) -> dict[str, Any] | None:
        """How the row fails against its baseline on the same samples: None when it does not.

        {"model", "run_id", "baseline", "metric", "from", "to", "change" (in the unit), "limit"
        (signed), "unit", "text"}. Raises UserError where one of the two has no such number.
        """
        old, new = (
            float("nan") if value is None else float(value)
            for value in (baseline[self.metric], row[self.metric])
        )
        if not math.isfinite(old + new):
            raise UserError(
                f"--fail-on {self.metric}: {row['model']} or {baseline['model']} has no number "
                "there; choose another"
            )
        change = (new - old) * 100 if self.unit == "pp" else new - old
        if self.unit == "%":
            change = (
                100 * (new - old) / abs(old)
                if old
                else math.copysign(math.inf, new)
                if new
                else 0.0
            )
        signed = -self.limit if self.down else self.limit
        beyond = signed - change if self.down else change - signed
        if beyond <= _ROUNDING * max(1.0, self.limit):
            return None
        way = "fell" if self.down else "rose"
        values = f"{old:.1%} to {new:.1%}" if self.metric in RATES else f"{old:.4g} to {new:.4g}"
        by = f"{abs(change):.2f}" if self.unit else f"{abs(change):.4g}"
        said = (
            f"{row['model']} against {baseline['model']}: {self.metric} {way} by "
            f"{by}{self.unit} ({values}), allowed"
        )
        return {
            "model": row["model"],
            "run_id": row["run_id"],
            "baseline": baseline["run_id"],
            "metric": self.metric,
            "from": old,
            "to": new,
            "change": change,
            "limit": signed,
            "unit": self.unit,
            "text": f"{said} {self.limit:g}{self.unit}",
        }


def parse_tolerances(given: Sequence[str]) -> list[Tolerance]:
    """Read `metric:-1pp` (points), `metric:+10%` (of the first) or `metric:-0.5` (own units).

    Raises UserError for others.
    """
    return [_parse(text) for text in given]


def _parse(text: str) -> Tolerance:
    name, _, amount = text.partition(":")
    metric = name.strip().replace("-", "_")
    if metric not in METRICS:
        raise unknown("metric in --fail-on", name, METRICS)
    match = re.fullmatch(r"([+-])([0-9]*\.?[0-9]+)(pp|%)?", amount.strip())
    if match is None:
        how = (
            f"write {metric}:-1pp (may fall by one point), {metric}:+5% (may rise by 5 % of the "
            f"first) or {metric}:-0.5"
        )
        raise UserError(f"--fail-on '{text}': {how}")
    if match[3] == "pp" and metric not in RATES:
        raise UserError(
            f"--fail-on '{text}': points are for rates ({', '.join(RATES)}); write "
            f"{metric}:{match[1]}{match[2]}"
        )
    if metric in RATES and not match[3] and float(match[2]) >= 1:
        raise UserError(
            f"--fail-on '{text}' allows any change of a share; for points write "
            f"{metric}:{match[1]}{match[2]}pp"
        )
    return Tolerance(metric, match[1] == "-", float(match[2]), match[3] or "")
