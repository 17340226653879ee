"""What was measured on a run, in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from robbench.reports import texts
from robbench.store.measured import Measure

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
_SHARES = {
    "accuracy",
    "logit_margin_near_zero",
    "svm_separable",
    "flip_share",
    "confidence",
    "calibration_error",
}


def measures_table(
    info: Mapping[str, Any], measures: Sequence[Measure], dual: str
) -> RenderableType:
    """One run's measures over all classes: clean and worst samples, clean training samples.

    `dual` says which gradient norms are shown: that of the run's threat model.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        title=Text(
            f"{info['model']}, {info['data']}, {info['threat']}, {info['attack']}, run "
            f"{info['run_id']}",
            style="bold",
        ),
    )
    places = [("clean", info["split"]), ("worst", info["split"])] + (
        [("clean", "train")] if info["split"] != "train" else []
    )
    table.add_column("measure", no_wrap=True)
    for points, split in places:
        table.add_column(f"{split}\n{points}", justify="right", no_wrap=True)
    found = {(m.name, m.points, m.split): m.value for m in measures if m.label is None}
    for name, title in SHOWN.items():
        key = name.format(dual=dual)
        cells = [_cell(key, found.get((key, *place))) for place in places]
        title += f" ({dual})" if key != name else ""
        table.add_row(Text(title), *map(Text, cells))
    return Group(table, *_distances(measures), Text())


def _distances(measures: Sequence[Measure]) -> list[RenderableType]:
    """A table of the input margins in each norm, if there are any."""
    found = {m.name: m for m in measures}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("smallest found", no_wrap=True)
    for head in ("median", "area", "up to", "censored", "runs"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, m in found.items():
        if not name.startswith("input_margin_"):
            continue
        curve, detail = found[f"security_curve_{m.detail['norm']}"], m.detail
        reach = detail["reach"]
        middle = _range(detail["median_low"], m.value) if m.value is not None else texts.NOTHING
        middle = f"> {texts.digits(reach)}" if m.value is None and reach is not None else middle
        area, end = _range(curve.detail["area_low"], curve.value), texts.digits(curve.detail["end"])
        table.add_row(
            detail["norm"],
            middle,
            area,
            end,
            f"{detail['censored']}/{detail['samples']}",
            str(len(detail["runs"])),
        )
    return [Text(), table] if table.row_count else []


def _range(low: float | None, high: float | None) -> str:
    """Both ends where they differ: the largest eps that failed, the smallest that was enough."""
    return (
        texts.digits(high)
        if texts.digits(low) == texts.digits(high)
        else f"{texts.digits(low)}-{texts.digits(high)}"
    )


def _cell(name: str, value: float | None) -> str:
    return texts.percent(value) if name in _SHARES and value is not None else texts.digits(value)
