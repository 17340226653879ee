"""What was measured on a run, in 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.results import texts
from robbench.results.measured import Measure

SHOWN = {
    "accuracy": "accuracy",
    "logit_margin_median": "logit margin, median",
    "logit_margin_near_zero": "  share near zero (|m| < 1)",
    "logit_margin_peaks": "  peaks of its histogram",
    "logit_margin_size": "  mean size",
    "logit_norm": "logit norm, mean",
    "feature_margin_median": "feature margin, median",
    "svm_ratio": "  over the SVM's, median pair",
    "svm_separable": "  pairs that are separable",
    "effective_rank": "effective rank of the features",
    "numerical_rank": "numerical rank of the features",
    "n_features_90": "features for 90 % of a logit",
    "margin_gradient_{dual}": "gradient norm of the margin",
    "cross_entropy_gradient_{dual}": "gradient norm of cross-entropy",
    "flip_share": "flips to first order",
    "local_linearity": "deviation from linearity",
    "confidence": "confidence, mean",
    "calibration_error": "calibration error (ECE)",
}
_SHARES = {"accuracy", "logit_margin_near_zero", "svm_separable", "flip_share", "confidence", "calibration_error"}


def measures_table(info: Mapping[str, Any], measures: Sequence[Measure], dual: str) -> RenderableType:
    """One run's measures over all classes: its samples clean and at their worst, and clean training samples.

    `dual` says which gradient norms are shown: that of the run's threat model.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, title_justify="left",
                  title=Text(f"{info['model']}, {info['data']}, {info['threat']}, {info['attack']}, run {info['run_id']}",
                             style="bold"))  # fmt: skip
    places = [("clean", info["split"]), ("worst", info["split"])] + ([("clean", "train")] if info["split"] != "train" else [])
    table.add_column("measure", no_wrap=True)
    for points, split in places:
        table.add_column(f"{split}\n{points}", justify="right", no_wrap=True)
    found = {(m.name, m.points, m.split): m.value for m in measures if m.label is None}
    for name, title in SHOWN.items():
        key = name.format(dual=dual)
        cells = [_cell(key, found.get((key, *place))) for place in places]
        title += f" ({dual})" if key != name else ""
        table.add_row(Text(title), *map(Text, cells))
    return Group(table, *(Text(line) for line in _distances(measures)), Text())


def _distances(measures: Sequence[Measure]) -> list[str]:
    """A line on the input margins in each norm."""
    found = {m.name: m for m in measures}
    lines = []
    for name, m in found.items():
        if name.startswith("input_margin_"):
            curve, detail = found[f"security_curve_{m.detail['norm']}"], m.detail
            reach = detail["reach"]
            middle = f"median {_short(m.value)}" if m.value is not None else "median not found"
            middle = f"median above {_short(reach)}" if m.value is None and reach is not None else middle
            ends = f"{detail['censored']} of {detail['samples']} censored"
            area = f"area {_short(curve.value)} up to {_short(curve.detail['end'])}"
            lines.append(f"input margin {detail['norm']}: {middle}, {ends}, {area}, {len(detail['runs'])} runs")
    return lines


def _cell(name: str, value: float | None) -> str:
    return texts.percent(value) if name in _SHARES and value is not None else _short(value)


def _short(value: float | None) -> str:
    """Three digits that matter."""
    return texts.NOTHING if value is None or not math.isfinite(value) else f"{value:.3g}"
