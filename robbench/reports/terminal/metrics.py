"""What was measured on a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports import texts
from robbench.reports.against_distances import AGAINST_DISTANCES, what_it_is_of
from robbench.reports.terminal.fitted import FittedTable, Head
from robbench.store.measured import Measure

SHOWN = {
    "accuracy": "accuracy",
    "logit_margin_median": "logit margin, median",
    "logit_margin_near_zero": "  share near zero (|m| < 1)",
    "logit_margin_peaks": "  peaks of its histogram",
    "logit_margin_size": "  mean size",
    "logit_norm": "logit norm, mean",
    "cross_entropy_hardest_tenth": "cross-entropy, hardest tenth",
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
    "brittle_fpr95",
}


def measures_table(
    info: Mapping[str, Any], measures: Sequence[Measure], dual: str
) -> RenderableType:
    """One run's measures over all classes: clean and worst samples, clean training samples.

    `dual` says which gradient norms are shown: that of the run's threat model.
    """
    title = (
        f"{info['model']}, {info['data']}, {info['threat']}, {info['attack']}, run {info['run_id']}"
    )
    places = [("clean", info["split"]), ("worst", info["split"])] + (
        [("clean", "train")] if info["split"] != "train" else []
    )
    columns = [Head(f"{split} {points}", f"{split}\n{points}") for points, split in places]
    heads = [Head("measure", "measure", right=False), *columns]
    found = {(m.name, m.points, m.split): m.value for m in measures if m.label is None}
    rows = []
    for name, text in SHOWN.items():
        key = name.format(dual=dual)
        cells = [_cell(key, found.get((key, *place))) for place in places]
        rows.append([Text(text + (f" ({dual})" if key != name else "")), *map(Text, cells)])
    table = FittedTable(title, heads, rows, [""] * len(rows), gap=3)
    return Group(table, *_distances(measures), *_against_distances(measures), Text())


_DISTANCE_HEADS = [
    Head("smallest found", "smallest\nfound", right=False),
    *(Head(text, text) for text in ("median", "area", "up to", "censored", "runs")),
]


def _distances(measures: Sequence[Measure]) -> list[RenderableType]:
    """A table of the input margins in each norm, if there are any."""
    found = {m.name: m for m in measures}
    rows = []
    for name, m in found.items():
        if not name.startswith("input_margin_"):
            continue
        curve, detail = found[f"security_curve_{m.detail['norm']}"], m.detail
        reach = detail["reach"]
        middle = _range(detail["median_low"], m.value) if m.value is not None else texts.NOTHING
        middle = f"> {texts.digits(reach)}" if m.value is None and reach is not None else middle
        area, end = _range(curve.detail["area_low"], curve.value), texts.digits(curve.detail["end"])
        censored = f"{detail['censored']}/{detail['samples']}"
        cells = (detail["norm"], middle, area, end, censored, str(len(detail["runs"])))
        rows.append([*map(Text, cells)])
    table = FittedTable("", _DISTANCE_HEADS, rows, [""] * len(rows), gap=3)
    return [Text(), table] if rows else []


_AGAINST_HEADS = [
    Head("by input margins", "by input\nmargins", right=False),
    Head("value", "value"),
    Head("95 % interval", "95 %\ninterval"),
    Head("of", "of", right=False),
]


def _against_distances(measures: Sequence[Measure]) -> list[RenderableType]:
    """A table of the measures that compare with input margins, if there are any."""
    rows = []
    for m in measures:
        text = AGAINST_DISTANCES.get(m.name.removesuffix(f"_{m.detail.get('norm')}"))
        if text is None or (m.name == "brittle_fpr95" and m.value is None):  # as AUROC
            continue
        value = texts.percent(m.value) if m.name in _SHARES else texts.digits(m.value)
        ends = [texts.digits(m.detail[end], 2) for end in ("low", "high") if end in m.detail]
        cells = (f"{text} ({m.detail['norm']})", value, " to ".join(ends), what_it_is_of(m.detail))
        rows.append([*map(Text, cells)])
    table = FittedTable("", _AGAINST_HEADS, rows, [""] * len(rows), prose=3, gap=2)
    return [Text(), table] if rows else []


def _range(low: float | None, high: float | None) -> str:
    """Both ends where they differ: the largest eps that failed, the smallest that was enough."""
    return (
        texts.digits(high)
        if texts.digits(low) == texts.digits(high)
        else f"{texts.digits(low)}-{texts.digits(high)}"
    )


def _cell(name: str, value: float | None) -> str:
    return texts.percent(value) if name in _SHARES and value is not None else texts.digits(value)
